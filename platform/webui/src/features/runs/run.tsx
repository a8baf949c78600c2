import { Alert, Badge, Button, Group, Stack, Text } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconPlayerStop } from "@tabler/icons-react";
import { useMutation, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useMemo } from "react";
import { call, path, textOf } from "../../api/client";
import { revision } from "../../api/queries";
import type { Run } from "../../api/types";
import { Ago, Copyable, Failure, Head, StateBadge, useNow, Waiting } from "../../components/basics";
import { useMay } from "../../components/frame";
import { WorkflowGraph } from "../workflows/graph";
import { ErrorBox, RunDetails, StepRunDetails } from "./detail";
import { Took } from "./list";
import { ended, keyOf, marks } from "./state";
import { Timeline } from "./timeline";
import { useRun } from "./use-run";

const route = getRouteApi("/$project/runs/$id");

/** One run, live: what runs, what waits and why, what went in and out, what was printed. */
export function RunPage() {
  const { project, id } = route.useParams();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const { run, error, live, onLog } = useRun(project, id);
  const moving = !!run && !ended(run.state);
  const now = useNow(100, moving);
  if (error) return <Failure error={error} />;
  if (!run) return <Waiting />;
  const chosen =
    run.steps?.find((s) => keyOf(s.step, s.item_path) === search.step) ??
    run.steps?.find((s) => s.step === search.step);
  const choose = (step: string) =>
    void navigate({ search: (s) => ({ ...s, step: s.step === step ? undefined : step }), replace: true });
  const setTab = (tab: string | null) =>
    void navigate({ search: (s) => ({ ...s, tab: tab ?? undefined }), replace: true });
  const props = { project, run, onLog, tab: search.tab, setTab };
  return (
    <>
      <Head
        title={
          <Link className="row" to="/$project/workflows/$name" params={{ project, name: run.workflow }}>
            {run.workflow}
          </Link>
        }
        about={
          <Group gap={6}>
            <span>
              revision {run.revision} · started by {run.trigger.kind} {run.trigger.id}
            </span>
            ·<Ago at={run.created_at} />·
            <span>
              took <Took run={run} />
            </span>
          </Group>
        }
        actions={<Cancel project={project} run={run} />}
      >
        <StateBadge state={run.state} />
        {moving && (
          <Badge variant="dot" color={live ? "teal" : "yellow"} tt="none">
            {live ? "live" : "connecting…"}
          </Badge>
        )}
      </Head>
      <Stack>
        {run.error && <ErrorBox error={run.error} />}
        {run.state === "queued" && (
          <Alert color="gray">It waits for its turn: as many runs as allowed are under way.</Alert>
        )}
        <Graph project={project} run={run} chosen={chosen?.step} choose={choose} />
        <Timeline run={run} now={now} chosen={chosen && keyOf(chosen.step, chosen.item_path)} choose={choose} />
        {chosen ? <StepRunDetails {...props} step={chosen} /> : <RunDetails {...props} />}
        <Group gap="xs">
          <Text size="xs" c="dimmed">
            run
          </Text>
          <Copyable text={run.id} />
        </Group>
      </Stack>
    </>
  );
}

function Graph({
  project,
  run,
  chosen,
  choose,
}: {
  project: string;
  run: Run;
  chosen?: string;
  choose: (step: string) => void;
}) {
  const q = useQuery({ ...revision(project, run.workflow, run.revision ?? 0), enabled: !!run.revision });
  const m = useMemo(() => marks(run), [run]);
  const d = q.data?.definition;
  if (!d || d.steps.length < 2) return null; // one step has no graph worth the room
  return <WorkflowGraph definition={d} marks={m} chosen={chosen} choose={choose} />;
}

function Cancel({ project, run }: { project: string; run: Run }) {
  const may = useMay("operator");
  const cancel = useMutation({
    mutationFn: () => call("POST", path("runner", project, "runs", run.id, "cancel")),
    onError: (e) => notifications.show({ color: "red", title: "Not cancelled", message: textOf(e) }),
  });
  if (!may || ended(run.state)) return null;
  return (
    <Button
      size="xs"
      color="red"
      variant="light"
      leftSection={<IconPlayerStop size={14} />}
      loading={cancel.isPending}
      disabled={run.state === "cancelling"}
      onClick={() => cancel.mutate()}
    >
      {run.state === "cancelling" ? "Cancelling…" : "Cancel"}
    </Button>
  );
}
