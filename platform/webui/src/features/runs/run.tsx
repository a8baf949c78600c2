import { Alert, Badge, Group, Stack, Text, Tooltip } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useMemo } from "react";
import { revision } from "../../api/queries";
import type { Run } from "../../api/types";
import { Ago, Copyable, Failure, Head, StateBadge, useNow, Waiting } from "../../components/basics";
import { WorkflowGraph } from "../workflows/graph";
import { AgainDrawer } from "./again";
import { ErrorBox, RunDetails, StepRunDetails } from "./detail";
import { Took } from "./list";
import { Orders } from "./orders";
import { ended, keyOf, marks } from "./state";
import { Timeline } from "./timeline";
import { costWords, runCost } from "./usage";
import { useRun } from "./use-run";
import { Cause, WaitingSteps } from "./waiting";

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
              revision {run.revision} · <StartedBy project={project} run={run} />
            </span>
            ·<Ago at={run.created_at} />·
            <span>
              took <Took run={run} />
            </span>
            ·
            <Tooltip label="Processor time, and memory times time, of all its attempts">
              <span className="nowrap" data-cost>
                {costWords(runCost(run))}
              </span>
            </Tooltip>
          </Group>
        }
        actions={<Orders project={project} run={run} />}
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
        <Around project={project} run={run} />
        <WaitingSteps project={project} run={run} choose={choose} />
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
      {search.again && (
        <AgainDrawer
          key={run.id}
          project={project}
          run={run}
          close={() => void navigate({ search: (s) => ({ ...s, again: undefined }), replace: true })}
        />
      )}
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
  return <WorkflowGraph project={project} definition={d} marks={m} chosen={chosen} choose={choose} />;
}

function StartedBy({ project, run }: { project: string; run: Run }) {
  const p = run.parent;
  if (!p)
    return (
      <>
        started by {run.trigger.kind} {run.trigger.id}
        {run.retry_of && (
          <>
            {" "}
            · repeats{" "}
            <Link to="/$project/runs/$id" params={{ project, id: run.retry_of }}>
              run …{run.retry_of.slice(-4)}
            </Link>
          </>
        )}
      </>
    );
  const link = (
    <Link to="/$project/runs/$id" params={{ project, id: p.run }} search={{ step: p.step }}>
      {p.workflow}
    </Link>
  );
  if (run.trigger.kind === "failure") return <>handles the failure of {link}</>;
  if (run.trigger.kind === "workflow-end") return <>started by the end of {link}</>;
  return (
    <>
      called by step {p.step} of {link}
    </>
  );
}

/** What stands around a run: why it has not started, what became of its failure, what could not be taken back. */
function Around({ project, run }: { project: string; run: Run }) {
  const h = run.handler;
  return (
    <>
      {run.state === "queued" && (
        <Alert color="gray">
          <Text size="sm" component="div">
            {run.wait ? (
              <>
                It waits to start: <Cause project={project} wait={run.wait} />
              </>
            ) : (
              "It waits for its turn: as many runs as allowed are under way."
            )}
          </Text>
        </Alert>
      )}
      {run.state === "paused" && (
        <Alert color="yellow">It is paused: what was under way ends, nothing new starts until it is resumed.</Alert>
      )}
      {run.not_undone !== undefined && (
        <Alert
          color="red"
          title={`${run.not_undone} ${run.not_undone === 1 ? "step" : "steps"} could not be taken back`}
        >
          The steps marked as undo below tell why.
        </Alert>
      )}
      {h && (
        <Alert color={h.run ? "gray" : "red"}>
          {h.run ? (
            <Text size="sm">
              Its failure is handled by{" "}
              <Link to="/$project/runs/$id" params={{ project, id: h.run }}>
                another run
              </Link>
              .
            </Text>
          ) : (
            `Its failure handler was ${h.problem}`
          )}
        </Alert>
      )}
    </>
  );
}
