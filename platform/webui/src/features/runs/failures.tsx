import { Badge, Button, Group, Select, Stack, Text, Tooltip } from "@mantine/core";
import { IconListDetails, IconRefresh } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useState } from "react";
import { failures, workflows } from "../../api/queries";
import { spans } from "../../api/search";
import type { Failure as Group_ } from "../../api/types";
import { Ago, Empty, Failure, Head, Waiting } from "../../components/basics";
import { counted } from "../../components/format";
import { useMay } from "../../components/frame";
import { BulkDialog } from "./bulk";
import { Sections } from "./sections";

const route = getRouteApi("/$project/failures");

/** Failed runs by their cause: one fix lets all of a group go on. */
export function FailuresPage() {
  const { project } = route.useParams();
  const { workflow, since = "7d" } = route.useSearch();
  const navigate = route.useNavigate();
  const [retried, setRetried] = useState<Group_>();
  const names = useQuery(workflows(project)).data?.items.map((w) => w.name) ?? [];
  const q = useQuery(failures(project, workflow, since));
  return (
    <>
      <Head
        title="Runs"
        about="Failed runs by their cause: one fix lets all of a group go on."
        actions={
          <>
            <Select
              aria-label="workflow"
              placeholder="every workflow"
              data={workflow && !names.includes(workflow) ? [workflow, ...names] : names}
              value={workflow ?? null}
              clearable
              searchable
              size="xs"
              onChange={(v) => void navigate({ search: (s) => ({ ...s, workflow: v ?? undefined }), replace: true })}
            />
            <Select
              aria-label="started"
              data={spans}
              value={since}
              allowDeselect={false}
              size="xs"
              onChange={(v) => void navigate({ search: (s) => ({ ...s, since: v ?? undefined }), replace: true })}
            />
          </>
        }
      />
      <Sections project={project} here="failures" />
      {q.isPending ? (
        <Waiting />
      ) : q.isError ? (
        <Failure error={q.error} retry={() => void q.refetch()} />
      ) : q.data.items.length === 0 ? (
        <Empty title="No run has failed">in the time that is looked at.</Empty>
      ) : (
        <Stack gap="sm">
          {q.data.items.map((g) => (
            <FailureGroup
              key={g.group + g.workflow}
              project={project}
              group={g}
              since={since}
              retry={() => setRetried(g)}
            />
          ))}
        </Stack>
      )}
      {retried && (
        <BulkDialog
          project={project}
          kind="retry"
          search={{ group: retried.group, state: "failed", since }}
          common={`${retried.workflow}: ${retried.message}`}
          close={() => setRetried(undefined)}
        />
      )}
    </>
  );
}

function FailureGroup(props: { project: string; group: Group_; since: string; retry: () => void }) {
  const { project, group: g, since, retry } = props;
  const may = useMay("operator");
  return (
    <div className="panel failure" data-group={g.group}>
      <Tooltip
        label={`${counted(g.count, "failed run")} of the same workflow, step and kind of error; the messages differ in numbers, ids and quoted words only`}
        multiline
        maw={300}
      >
        <Text className="failurecount" c="red" fw={700} tabIndex={0}>
          {g.count.toLocaleString("en")}
        </Text>
      </Tooltip>
      <Stack gap={4} miw={0}>
        <Text size="sm" fw={500} lineClamp={2} style={{ wordBreak: "break-word" }}>
          {g.message}
        </Text>
        <Group gap={8}>
          <Link className="row" to="/$project/workflows/$name" params={{ project, name: g.workflow }}>
            <Text span size="sm" fw={600}>
              {g.workflow}
            </Text>
          </Link>
          {g.step && (
            <Text size="sm" c="dimmed">
              step {g.step}
            </Text>
          )}
          <Badge variant="light" color="red" size="sm" tt="none">
            {g.kind}
          </Badge>
          <Text size="xs" c="dimmed" component="div">
            {g.count > 1 && (
              <>
                first <Ago at={g.first_at} />,{" "}
              </>
            )}
            last <Ago at={g.last_at} />
          </Text>
          <Text size="xs">
            <Link to="/$project/runs/$id" params={{ project, id: g.newest_run }}>
              newest run
            </Link>
          </Text>
        </Group>
      </Stack>
      <Group gap="xs" justify="flex-end">
        <Button
          size="xs"
          variant="default"
          leftSection={<IconListDetails size={14} />}
          renderRoot={(p) => (
            <Link to="/$project/runs" params={{ project }} search={{ group: g.group, state: "failed", since }} {...p} />
          )}
        >
          Its runs
        </Button>
        {may && (
          <Button size="xs" variant="light" leftSection={<IconRefresh size={14} />} onClick={retry}>
            Retry all of the group
          </Button>
        )}
      </Group>
    </div>
  );
}
