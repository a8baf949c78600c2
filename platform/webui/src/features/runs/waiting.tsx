import { Anchor, Badge, Group, Stack, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import type { Run, StepRun, StepWait } from "../../api/types";
import { useNow } from "../../components/basics";
import { place } from "../../components/format";
import { useMay } from "../../components/frame";
import { Decision, SignalButton } from "./decide";
import { keyOf } from "./state";
import { asksPerson, causeAround, countdown, outside, waiting } from "./waits";

/** What a run waits for: each step with its cause, its time, and what lets it go on. */
export function WaitingSteps({ project, run, choose }: { project: string; run: Run; choose: (key: string) => void }) {
  const list = waiting(run);
  const now = useNow(
    1000,
    list.some((s) => s.wait.until),
  );
  if (list.length === 0) return null;
  const shown = list.slice(0, 20);
  return (
    <Stack className="panel waits" p="md" gap="md" aria-label="what it waits for">
      {shown.map((s) => (
        <WaitingStep key={keyOf(s.step, s.item_path)} project={project} run={run} step={s} now={now} choose={choose} />
      ))}
      {list.length > shown.length && (
        <Text size="sm" c="dimmed">
          and {list.length - shown.length} more: choose a step below
        </Text>
      )}
    </Stack>
  );
}

function WaitingStep(props: {
  project: string;
  run: Run;
  step: StepRun & { wait: StepWait };
  now: number;
  choose: (key: string) => void;
}) {
  const { project, run, step: s, now, choose } = props;
  const may = useMay("operator");
  const left = countdown(s.wait, now);
  return (
    <Stack gap={6} data-waits={keyOf(s.step, s.item_path)}>
      <Group gap="sm">
        <Badge variant="light" color={outside(s.wait.kind) ? "yellow" : "gray"} tt="none">
          {label[s.wait.kind]}
        </Badge>
        <Anchor component="button" size="sm" fw={600} onClick={() => choose(keyOf(s.step, s.item_path))}>
          {s.title || s.step}
          {place(s.item_path)}
        </Anchor>
        <Cause project={project} wait={s.wait} reason={s.reason} />
        {left && (
          <Text size="sm" c="dimmed" title={s.wait.until && new Date(s.wait.until).toLocaleString()}>
            {left}
          </Text>
        )}
        {s.wait.kind === "signal" && may && <SignalButton project={project} run={run.id} name={s.wait.text ?? ""} />}
      </Group>
      {asksPerson(s.wait.kind) && <Decision project={project} run={run.id} step={s} wait={s.wait} />}
    </Stack>
  );
}

/** The cause in words, with links to the runs that hold what is waited for. */
export function Cause({ project, wait, reason }: { project: string; wait: StepWait; reason?: string }) {
  const [before, after] = causeAround(wait, reason);
  const holders = wait.held_by ?? [];
  return (
    <Text size="sm" component="span">
      {before}
      {holders.slice(0, 5).map((id, i) => (
        <span key={id}>
          {i > 0 ? ", " : " "}
          <Link to="/$project/runs/$id" params={{ project, id: id.slice(0, 36) }}>
            run …{id.slice(0, 36).slice(-4)}
          </Link>
        </span>
      ))}
      {holders.length > 5 && ` and ${holders.length - 5} more`}
      {after}
    </Text>
  );
}

const label: Record<StepWait["kind"], string> = {
  signal: "signal",
  approval: "approval",
  consent: "consent",
  lost: "lost attempt",
  slot: "limit",
  time: "time",
  retry: "retry",
  pass: "loop",
  cache: "cache",
};
