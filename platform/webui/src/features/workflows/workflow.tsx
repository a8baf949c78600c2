import { Alert, Button, Group, Stack, Table, Tabs, Text } from "@mantine/core";
import { IconArrowBackUp, IconRocket } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useLive } from "../../api/live";
import { revisions, workflow } from "../../api/queries";
import type { Workflow, WorkflowProblem } from "../../api/types";
import { Ago, Copyable, Empty, Failure, Head, StateBadge, Waiting } from "../../components/basics";
import { useMay } from "../../components/frame";
import { Paged } from "../../components/list";
import { RunTable } from "../runs/list";
import { curl } from "./curl";
import { DeployActions, useDeploy } from "./deploy";
import { Facts } from "./facts";
import { WorkflowGraph } from "./graph";
import { Paused, usePaused } from "./pause";
import { StartDrawer } from "./start";
import { StepDetails } from "./step";
import { split, takes } from "./words";

const route = getRouteApi("/$project/workflows/$name");

export function WorkflowPage() {
  const { project, name } = route.useParams();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  useLive("studio", project);
  const q = useQuery(workflow(project, name));
  const paused = usePaused(project)[name];
  if (q.isPending) return <Waiting />;
  if (q.isError) return <Failure error={q.error} retry={() => void q.refetch()} />;
  const w = q.data;
  const tab = search.tab ?? "graph";
  return (
    <>
      <Head title={name} about={<About w={w} />} actions={<DeployActions project={project} workflow={w} />}>
        {w.deployment && <StateBadge state={w.deployment.state} title={w.deployment.reason} />}
        {paused && <StateBadge state="paused" />}
      </Head>
      <Stack>
        {paused && <Paused project={project} workflow={name} paused={paused} />}
        {w.deployment?.state === "failed" && w.deployment.reason && (
          <Alert color="red" title="It could not be deployed" role="alert">
            <Text size="sm" style={{ whiteSpace: "pre-wrap" }}>
              {w.deployment.reason}
            </Text>
          </Alert>
        )}
        <ProblemList problems={w.problems} />
        <Facts project={project} w={w} />
        <Endpoints w={w} />
        <Tabs
          value={tab}
          onChange={(t) => void navigate({ search: { tab: t ?? undefined }, replace: true })}
          keepMounted={false}
        >
          <Tabs.List mb="sm">
            <Tabs.Tab value="graph">Graph</Tabs.Tab>
            <Tabs.Tab value="source">YAML</Tabs.Tab>
            <Tabs.Tab value="revisions">Revisions</Tabs.Tab>
            <Tabs.Tab value="runs">Runs</Tabs.Tab>
          </Tabs.List>
          <Tabs.Panel value="graph">
            {w.definition && w.definition.steps.length > 0 ? (
              <Stack>
                <WorkflowGraph
                  project={project}
                  definition={w.definition}
                  chosen={search.step}
                  choose={(step) => void navigate({ search: (s) => ({ ...s, step }), replace: true })}
                />
                <StepDetails project={project} definition={w.definition} step={search.step} />
              </Stack>
            ) : (
              <Empty title="No graph yet">The newest text has errors; it becomes a revision once they are gone.</Empty>
            )}
          </Tabs.Panel>
          <Tabs.Panel value="source">
            <Source yaml={w.yaml} problems={w.problems} />
          </Tabs.Panel>
          <Tabs.Panel value="revisions">
            <Revisions project={project} w={w} />
          </Tabs.Panel>
          <Tabs.Panel value="runs">
            <RunTable project={project} search={{ workflow: name }} />
          </Tabs.Panel>
        </Tabs>
      </Stack>
      {search.start && (
        <StartDrawer
          project={project}
          workflow={name}
          close={() => void navigate({ search: (s) => ({ ...s, start: undefined }), replace: true })}
        />
      )}
    </>
  );
}

function About({ w }: { w: Workflow }) {
  return (
    <Group gap={6}>
      <span>
        {w.revision ? `revision ${w.revision}` : "no revision yet"}
        {w.deployment &&
          w.deployment.state !== "stopped" &&
          (w.deployment.traffic || w.deployment.revision !== w.revision) &&
          `, ${w.deployment.traffic ? "new runs go to revisions" : "deployed is"} ${split(w.deployment)}`}
      </span>
      {w.updated_at && (
        <span>
          · saved <Ago at={w.updated_at} />
        </span>
      )}
      {w.path && <span>· {w.path}</span>}
    </Group>
  );
}

function ProblemList({ problems }: { problems: WorkflowProblem[] }) {
  if (problems.length === 0) return null;
  const errors = problems.some((p) => p.severity === "error");
  return (
    <Alert
      color={errors ? "red" : "yellow"}
      title={errors ? "The newest text has errors; the deployed revision goes on" : "Worth a look"}
      role="alert"
    >
      <Stack gap={4}>
        {problems.map((p, i) => (
          <Text key={i} size="sm">
            {p.file && `${p.file}:`}
            {p.line}:{p.column}: {p.path && `${p.path}: `}
            {p.message}
            {p.proposal && (
              <Text span c="dimmed">
                {" "}
                — {p.proposal}
              </Text>
            )}
          </Text>
        ))}
      </Stack>
    </Alert>
  );
}

/** How callers reach it, ready to paste. */
function Endpoints({ w }: { w: Workflow }) {
  const endpoints = w.deployment?.state === "live" ? w.deployment.endpoints : [];
  if (endpoints.length === 0) return null;
  return (
    <Stack gap={6} className="panel" p="sm">
      {endpoints.map((e) => (
        <Copyable key={e.trigger} label={e.trigger} text={curl(location.origin, e, w)} />
      ))}
      <Text size="xs" c="dimmed">
        Fill in what stands in angle brackets; an API key is made under API keys.
      </Text>
    </Stack>
  );
}

function Source({ yaml, problems }: { yaml?: string; problems: WorkflowProblem[] }) {
  if (!yaml) return <Empty title="No revision yet">The text could not be read as a workflow.</Empty>;
  const at = new Map(problems.map((p) => [p.line, p]));
  return (
    <pre className="panel source">
      {yaml
        .replace(/\n$/, "")
        .split("\n")
        .map((line, i) => (
          <div key={i} data-problem={at.get(i + 1)?.severity} title={at.get(i + 1)?.message}>
            {line || " "}
          </div>
        ))}
    </pre>
  );
}

function Revisions({ project, w }: { project: string; w: Workflow }) {
  const may = useMay("operator");
  const deploy = useDeploy(project, w.name);
  const deployed = w.deployment && w.deployment.state !== "stopped" ? w.deployment.revision : 0;
  return (
    <Paged
      query={revisions(project, w.name)}
      empty={<Empty title="No revisions yet">A revision is made of every saved text without errors.</Empty>}
    >
      {(items) => (
        <Table className="panel">
          <Table.Tbody>
            {items.map((r) => (
              <Table.Tr key={r.id}>
                <Table.Td>
                  <Group gap="xs">
                    revision {r.revision}
                    {takes(w.deployment, r.revision) > 0 && w.deployment && <StateBadge state={w.deployment.state} />}
                    {w.deployment?.traffic && takes(w.deployment, r.revision) > 0 && (
                      <Text size="sm" c="dimmed">
                        takes {takes(w.deployment, r.revision)}% of new runs
                        {r.revision === deployed && ", its triggers listen"}
                      </Text>
                    )}
                  </Group>
                </Table.Td>
                <Table.Td>
                  <Ago at={r.created_at} />
                </Table.Td>
                <Table.Td ta="right">
                  {may && takes(w.deployment, r.revision) < 100 && (
                    <Button
                      size="compact-xs"
                      variant="light"
                      loading={deploy.isPending}
                      leftSection={r.revision < deployed ? <IconArrowBackUp size={13} /> : <IconRocket size={13} />}
                      onClick={() =>
                        deploy.mutate({ verb: r.revision < deployed ? "rollback" : "deploy", revision: r.revision })
                      }
                    >
                      {r.revision < deployed ? "Roll back to this" : "Deploy"}
                    </Button>
                  )}
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
    </Paged>
  );
}
