import { Alert, Badge, Button, Group, Modal, Stack, Table, Tabs, Text } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconTrash } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useLive } from "../../api/live";
import { call, path, textOf } from "../../api/client";
import { builds, repository, scans } from "../../api/queries";
import type { Build, Scan, ScanEntry } from "../../api/types";
import { Ago, Empty, Failure, Head, StateBadge, Waiting } from "../../components/basics";
import { useMay } from "../../components/frame";
import { between, counted, duration } from "../../components/format";
import { Paged } from "../../components/list";
import { BuildDrawer } from "./build";
import { ScanButton } from "./list";

const route = getRouteApi("/$project/repositories/$id");

export function RepositoryPage() {
  const { project, id } = route.useParams();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  useLive("repository", project);
  const q = useQuery(repository(project, id));
  if (q.isPending) return <Waiting />;
  if (q.isError) return <Failure error={q.error} retry={() => void q.refetch()} />;
  const r = q.data;
  return (
    <>
      <Head
        title={r.name}
        about={`${r.url || r.path}${r.branch ? ` (${r.branch})` : ""}`}
        actions={
          <>
            <ScanButton project={project} id={id} />
            <Remove project={project} id={id} name={r.name} />
          </>
        }
      >
        {r.watch && (
          <Badge variant="dot" tt="none">
            watched
          </Badge>
        )}
        {r.auto_deploy && (
          <Badge variant="dot" color="grape" tt="none">
            deploys by itself
          </Badge>
        )}
      </Head>
      <Tabs
        value={search.tab ?? "scans"}
        onChange={(t) => void navigate({ search: { tab: t ?? undefined }, replace: true })}
        keepMounted={false}
      >
        <Tabs.List mb="sm">
          <Tabs.Tab value="scans">Scans</Tabs.Tab>
          <Tabs.Tab value="builds">Builds</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="scans">
          <Paged
            query={scans(project, id)}
            empty={<Empty title="Not scanned yet">Scan it to find its actions and workflows.</Empty>}
          >
            {(items) => (
              <Scans
                project={project}
                items={items}
                chosen={search.scan}
                choose={(scan) => void navigate({ search: (s) => ({ ...s, scan }), replace: true })}
              />
            )}
          </Paged>
        </Tabs.Panel>
        <Tabs.Panel value="builds">
          <Paged
            query={builds(project)}
            empty={<Empty title="No builds yet">A scan orders a build of every action that changed.</Empty>}
          >
            {(items) => (
              <Builds
                items={items.filter((b) => !b.repository || b.repository === r.id || b.repository === r.name)}
                choose={(build) => void navigate({ search: (s) => ({ ...s, build }), replace: true })}
              />
            )}
          </Paged>
        </Tabs.Panel>
      </Tabs>
      {search.build && (
        <BuildDrawer
          project={project}
          id={search.build}
          close={() => void navigate({ search: (s) => ({ ...s, build: undefined }), replace: true })}
        />
      )}
    </>
  );
}

function Scans({
  project,
  items,
  chosen,
  choose,
}: {
  project: string;
  items: Scan[];
  chosen?: string;
  choose: (id: string) => void;
}) {
  const scan = items.find((s) => s.id === chosen) ?? items[0]!;
  return (
    <Stack>
      <Found project={project} scan={scan} />
      <Table className="panel">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Scan</Table.Th>
            <Table.Th>Commit</Table.Th>
            <Table.Th>Found</Table.Th>
            <Table.Th>When</Table.Th>
            <Table.Th>Took</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {items.map((s) => {
            const errors = [...s.actions, ...s.workflows].filter((e) => e.state === "error").length;
            return (
              <Table.Tr
                key={s.id}
                onClick={() => choose(s.id)}
                style={{ cursor: "pointer" }}
                bg={s.id === scan.id ? "var(--mantine-primary-color-light)" : undefined}
              >
                <Table.Td>
                  <StateBadge state={s.state} />
                </Table.Td>
                <Table.Td>
                  {s.commit ? (
                    <Text size="sm" ff="monospace">
                      {s.commit.slice(0, 10)}
                    </Text>
                  ) : (
                    <Text size="sm" c="dimmed">
                      working tree
                    </Text>
                  )}
                </Table.Td>
                <Table.Td>
                  <Text size="sm">
                    {counted(s.actions.length, "action")}, {counted(s.workflows.length, "workflow")}
                    {errors > 0 && `, ${errors} with errors`}
                  </Text>
                </Table.Td>
                <Table.Td>
                  <Ago at={s.started_at} />
                </Table.Td>
                <Table.Td>
                  <Text size="sm" c="dimmed" className="nowrap">
                    {duration(between(s.started_at, s.finished_at))}
                  </Text>
                </Table.Td>
              </Table.Tr>
            );
          })}
        </Table.Tbody>
      </Table>
    </Stack>
  );
}

/** What a scan found, errors with their file and line. */
function Found({ project, scan }: { project: string; scan: Scan }) {
  if (scan.error)
    return (
      <Alert color="red" title="The scan failed" role="alert">
        <Text size="sm" style={{ whiteSpace: "pre-wrap" }}>
          {scan.error}
        </Text>
      </Alert>
    );
  const rows: [string, ScanEntry][] = [
    ...scan.actions.map((a): [string, ScanEntry] => ["action", a]),
    ...scan.workflows.map((w): [string, ScanEntry] => ["workflow", w]),
  ];
  if (rows.length === 0) return <Empty title="Nothing found">No folder has an action.yaml or a workflow file.</Empty>;
  return (
    <Table className="panel">
      <Table.Thead>
        <Table.Tr>
          <Table.Th>State</Table.Th>
          <Table.Th>What was found</Table.Th>
          <Table.Th>Where</Table.Th>
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {rows.map(([kind, e]) => (
          <Table.Tr key={kind + e.path}>
            <Table.Td w={110}>
              <StateBadge state={e.state} />
            </Table.Td>
            <Table.Td>
              <Group gap="xs">
                {kind === "action" && e.id ? (
                  <Link className="row" to="/$project/library/$action" params={{ project, action: e.id }}>
                    {e.id}
                  </Link>
                ) : kind === "workflow" && e.id ? (
                  <Link className="row" to="/$project/workflows/$name" params={{ project, name: e.id }}>
                    {e.id}
                  </Link>
                ) : (
                  <Text fw={500}>{e.path}</Text>
                )}
                <Text size="xs" c="dimmed">
                  {kind} {e.version}
                </Text>
              </Group>
              {(e.errors ?? []).map((x, i) => (
                <Text key={i} size="sm" c={x.warning ? "yellow.8" : "red"}>
                  {x.file}
                  {x.line ? `:${x.line}` : ""}
                  {x.column ? `:${x.column}` : ""}: {x.path && `${x.path}: `}
                  {x.message}
                  {x.remedy && (
                    <Text span c="dimmed">
                      {" "}
                      — {x.remedy}
                    </Text>
                  )}
                </Text>
              ))}
            </Table.Td>
            <Table.Td>
              <Text size="sm" c="dimmed">
                {e.path}
              </Text>
            </Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}

function Builds({ items, choose }: { items: Build[]; choose: (id: string) => void }) {
  if (items.length === 0)
    return <Empty title="No builds here">What it holds was built for another repository, or is not built yet.</Empty>;
  return (
    <Table className="panel">
      <Table.Thead>
        <Table.Tr>
          <Table.Th>State</Table.Th>
          <Table.Th>Action</Table.Th>
          <Table.Th>Ordered</Table.Th>
          <Table.Th>Took</Table.Th>
          <Table.Th />
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {items.map((b) => (
          <Table.Tr key={b.id} onClick={() => choose(b.id)} style={{ cursor: "pointer" }} data-build={b.action}>
            <Table.Td w={120}>
              <StateBadge state={b.state} />
            </Table.Td>
            <Table.Td>
              <Text size="sm" fw={500}>
                {b.action || b.path}
              </Text>
              {b.message && (
                <Text size="xs" c="red" lineClamp={3}>
                  {b.file && `${b.file}${b.line ? `:${b.line}` : ""}: `}
                  {b.message}
                </Text>
              )}
            </Table.Td>
            <Table.Td>
              <Ago at={b.created_at} />
            </Table.Td>
            <Table.Td>
              <Text size="sm" c="dimmed" className="nowrap">
                {duration(between(b.started_at, b.finished_at))}
              </Text>
            </Table.Td>
            <Table.Td ta="right">
              <Button size="compact-xs" variant="subtle">
                Log
              </Button>
            </Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}

function Remove({ project, id, name }: { project: string; id: string; name: string }) {
  const may = useMay("developer");
  const [asking, setAsking] = useState(false);
  const navigate = useNavigate();
  const queries = useQueryClient();
  const remove = useMutation({
    mutationFn: () => call("DELETE", path("repository", project, "repositories", id)),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["repository", project, "repositories"], exact: true });
      void navigate({ to: "/$project/repositories", params: { project } });
    },
    onError: (e) => notifications.show({ color: "red", title: "Not removed", message: textOf(e) }),
  });
  if (!may) return null;
  return (
    <>
      <Button
        size="xs"
        variant="subtle"
        color="red"
        leftSection={<IconTrash size={14} />}
        onClick={() => setAsking(true)}
      >
        Remove
      </Button>
      <Modal opened={asking} onClose={() => setAsking(false)} title={<Text fw={600}>Remove {name}?</Text>}>
        <Text size="sm" mb="md">
          Its scans are forgotten. Actions that were built and workflows that are deployed stay.
        </Text>
        <Group justify="flex-end">
          <Button variant="default" onClick={() => setAsking(false)}>
            Keep it
          </Button>
          <Button color="red" loading={remove.isPending} onClick={() => remove.mutate()}>
            Remove
          </Button>
        </Group>
      </Modal>
    </>
  );
}
