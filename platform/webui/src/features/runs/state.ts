import { millis } from "../../components/format";
import type { Attempt, Phase, Run, RunEvent, StepRun, StepState } from "../../api/types";
import { place } from "../../components/format";
import { cause } from "./waits";

// What the run view knows, as pure functions over the server's events, so that it can be tested
// without a browser. The server's order is kept; an event about something unknown adds it.

export const keyOf = (step: string, path: number[] = []) => step + place(path);

export const ended = (state: string | undefined) =>
  state === "completed" || state === "failed" || state === "cancelled";

function mergeAttempt(list: Attempt[], a: Attempt): Attempt[] {
  const i = list.findIndex((x) => x.number === a.number);
  if (i < 0) return [...list, a].sort((x, y) => x.number - y.number);
  const old = list[i]!;
  const merged: Attempt = {
    ...old,
    ...a,
    // An attempt that has ended is not made running again by a phase that was told late.
    state: old.state !== "started" && a.state === "started" ? old.state : a.state,
    started_at: old.started_at ?? a.started_at,
    finished_at: a.finished_at ?? old.finished_at,
    phases: a.phases.length >= old.phases.length ? a.phases : old.phases,
  };
  return list.map((x, k) => (k === i ? merged : x));
}

/** The run after an event. */
export function apply(run: Run | undefined, e: RunEvent): Run | undefined {
  if ((e.type === "snapshot" || e.type === "end") && e.run) return e.run;
  if (!run) return run;
  if (e.type === "run" && e.run) return { ...run, ...e.run, inputs: run.inputs, steps: run.steps };
  if (!e.step || (!e.step_run && !e.attempt && !e.output)) return run;
  const steps = run.steps ?? [];
  const key = keyOf(e.step, e.item_path);
  const i = steps.findIndex((s) => keyOf(s.step, s.item_path) === key);
  const old: StepRun = steps[i] ?? {
    step: e.step,
    kind: e.step_run?.kind ?? "action",
    item_path: e.item_path ?? [],
    state: "running",
    items: -1,
    attempts: [],
  };
  let next = old;
  if (e.step_run) {
    const s = e.step_run;
    next = {
      ...next,
      state: s.state,
      reason: s.reason,
      items: s.items >= 0 ? s.items : next.items,
      started_at: next.started_at ?? s.started_at,
      finished_at: s.finished_at ?? next.finished_at,
      error: s.error ?? (s.state === "failed" ? next.error : undefined),
      kind: s.kind,
      wait: s.wait,
      caught: s.caught ?? next.caught,
      child: s.child ?? next.child,
      undoes: s.undoes ?? next.undoes,
    };
  }
  if (e.output?.list) {
    // Results of a list come in order; those before it are known, or come with the next reading.
    const before = e.output.index > 0 && Array.isArray(next.outputs) ? next.outputs.slice(0, e.output.index) : [];
    if (before.length === e.output.index) next = { ...next, list: true, outputs: [...before, e.output.values] };
  }
  if (e.attempt) next = { ...next, attempts: mergeAttempt(next.attempts, e.attempt) };
  return { ...run, steps: i < 0 ? [...steps, next] : steps.map((s, k) => (k === i ? next : s)) };
}

export interface Segment {
  phase: string;
  from: number;
  to: number;
}

/** The parts of an attempt's bar. A phase ends what was before it: what lies before "booted" is
 * booting, what lies before "returned" is the user's code, what comes after it is clearing up. */
export function segments(a: Attempt, now: number): Segment[] {
  if (!a.started_at) return [];
  const out: Segment[] = [];
  let from = millis(a.started_at);
  const end = Math.max(a.finished_at ? millis(a.finished_at) : now, from);
  const failed = a.state === "failed" || a.state === "lost" || a.state === "cancelled";
  const phases: Phase[] = [...a.phases].sort((x, y) => millis(x.at) - millis(y.at));
  const ran = phases.some((p) => p.kind === "returned");
  for (const p of phases) {
    const to = Math.min(Math.max(millis(p.at), from), end);
    const phase = p.kind !== "returned" ? p.kind : failed ? "failed" : "running";
    if (to > from) out.push({ phase, from, to });
    from = to;
  }
  if (end > from || out.length === 0)
    out.push({ phase: ran ? "ending" : failed ? "failed" : "running", from, to: end });
  return out;
}

/** The span of time that a run's timeline shows. */
export function span(run: Run, now: number): { from: number; to: number } {
  const from = millis(run.created_at);
  let to = run.finished_at ? millis(run.finished_at) : now;
  for (const s of run.steps ?? [])
    for (const a of s.attempts) if (a.finished_at) to = Math.max(to, millis(a.finished_at));
  return { from, to: Math.max(to, from + 0.001) };
}

const weight: StepState[] = ["failed", "running", "waiting", "queued", "cancelled", "pending", "completed", "skipped"];

export interface StepMark {
  state: StepState | "caught";
  note?: string;
  child?: string;
}

/** What a switch has chosen, in words. */
const choice = (s: StepRun): string | undefined => {
  const o = s.outputs as { case?: unknown } | undefined;
  if (s.kind !== "switch" || s.state !== "completed" || !o) return undefined;
  return o.case === null || o.case === undefined ? "otherwise" : `chose ${String(o.case)}`;
};

/** One line on a step run: how it went, what it chose, what it waits for. */
function noteOf(s: StepRun, state: StepState): string {
  const chosen = choice(s);
  if (chosen) return chosen;
  if (s.started_at && s.finished_at) {
    const ms = millis(s.finished_at) - millis(s.started_at);
    return `${state} · ${ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(1)} s`}`;
  }
  if (s.wait) return cause(s.wait, s.reason);
  return s.reason ? `${state}: ${s.reason}` : state;
}

/** One state for each step of the graph, over all of its items. */
export function marks(run: Run): Record<string, StepMark> {
  const by = new Map<string, StepRun[]>();
  for (const s of run.steps ?? []) if (!s.undoes) by.set(s.step, [...(by.get(s.step) ?? []), s]);
  const out: Record<string, StepMark> = {};
  for (const [step, list] of by) {
    // The head of a forEach stands for its items; alone it is what there is.
    const items = list.length > 1 ? list.filter((s) => s.items < 0 || s.item_path.length > 0) : list;
    const state = weight.find((w) => items.some((s) => s.state === w)) ?? "pending";
    const done = items.filter((s) => s.state === "completed").length;
    const one = items.length === 1 ? items[0] : undefined;
    out[step] = {
      state,
      note: one ? noteOf(one, state) : `${done} of ${items.length} completed`,
    };
    if (one?.child) out[step].child = one.child;
    if (one?.caught && state === "failed")
      out[step] = { state: "caught", note: `caught: ${one.error?.kind ?? "an error"}` };
  }
  if (run.trigger.id && !["manual", "workflow", "failure"].includes(run.trigger.kind))
    out[`trigger:${run.trigger.id}`] = { state: "completed" };
  if (ended(run.state)) out["result:"] = { state: run.state === "completed" ? "completed" : "skipped" };
  for (const s of run.steps ?? [])
    if (s.undoes && (s.state === "completed" || s.state === "failed"))
      out[s.undoes] = {
        ...out[s.undoes],
        state: out[s.undoes]?.state ?? "completed",
        note: s.state === "completed" ? "taken back" : "could not be taken back",
      };
  return out;
}
