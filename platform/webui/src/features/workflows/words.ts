import type {
  DefinitionStep,
  DefinitionWait,
  Json,
  Limit,
  Policies,
  Question,
  WorkflowDeployment,
} from "../../api/types";

/** A value as written, in one line. */
export const written = (v: Json | undefined) => (typeof v === "string" ? v : JSON.stringify(v));

/** A span of time of a setting: 500 ms, 1.5 s, 1 h 30 min, 7 d. */
export function span(ms: number): string {
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return `${ms / 1000} s`;
  const parts: string[] = [];
  let s = Math.round(ms / 1000);
  for (const [unit, size] of [
    ["d", 86_400],
    ["h", 3600],
    ["min", 60],
    ["s", 1],
  ] as const) {
    const n = Math.floor(s / size);
    s -= n * size;
    if (n > 0) parts.push(`${n} ${unit}`);
  }
  return parts.join(" ");
}

const times = (n: number, noun: string) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
const per = (key: Json | undefined) => (key === undefined || key === null ? "" : ` per ${written(key)}`);

/** How many of 100 new runs are of a revision. */
export function takes(d: WorkflowDeployment | undefined, revision: number): number {
  if (!d || d.state === "stopped") return 0;
  if (!d.traffic) return d.revision === revision ? 100 : 0;
  return d.traffic.find((s) => s.revision === revision)?.weight ?? 0;
}

/** The revision that takes new runs, or which of several how many: 7 (90%), 8 (10%). */
export const split = (d: WorkflowDeployment) =>
  d.traffic ? d.traffic.map((s) => `${s.revision} (${s.weight}%)`).join(", ") : String(d.revision);

/** What a step does, in a few words. */
export function does(s: DefinitionStep): string {
  switch (s.kind) {
    case "workflow":
      return `${s.detach ? "starts" : "runs"} workflow ${s.workflow ?? ""}`;
    case "wait":
      return s.wait ? waits(s.wait) : "waits";
    case "switch":
      return `by ${s.switch ?? ""}`;
    case "collect":
      return `collects ${s.collect ?? ""}`;
    default:
      return s.uses;
  }
}

export function waits(w: DefinitionWait): string {
  const end = w.timeout_ms ? `, at most ${span(w.timeout_ms)}` : "";
  if (w.signal) return `waits for signal ${w.signal}${end}`;
  if (w.approval) return `asks ${asked(w.approval)}${end}`;
  if (w.until !== undefined) return `waits until ${written(w.until)}${w.timezone ? ` ${w.timezone}` : ""}`;
  return `waits ${written(w.for)}`;
}

/** Whom a question is put to. */
export const asked = (q: Question) => (q.approvers.length > 0 ? q.approvers.join(", ") : "an operator");

/** What a setting is about: it chooses the mark of it on the canvas. */
export type SettingKind =
  | "if"
  | "join"
  | "each"
  | "loop"
  | "asks"
  | "effect"
  | "retry"
  | "timeout"
  | "cache"
  | "limit"
  | "priority"
  | "catch"
  | "undo";

export interface Setting {
  kind: SettingKind;
  /** as it is called in the text of a workflow */
  name: string;
  words: string;
}

const onError = {
  fail: "a failed item fails the step",
  skip: "failed items are left out",
  collect: "failed items stay as errors",
};

/** What holds for a step beside what it does and is given, in the order of its life. */
export function settings(s: DefinitionStep): Setting[] {
  const out: Setting[] = [];
  const add = (kind: SettingKind, name: string, words: string) => out.push({ kind, name, words });
  if (s.if) add("if", "if", `runs only if ${s.if}`);
  if (s.join && s.join !== "all")
    add("join", "join", `runs once ${s.join === "any" ? "any" : s.join} of the steps before completed`);
  if (s.for_each) {
    const f = s.for_each;
    const pace = f.concurrency ? `${f.concurrency} at a time` : "all at once";
    add("each", "forEach", `once for each ${f.as} of ${f.in}, ${pace}; ${onError[f.on_error]}`);
  }
  if (s.loop) {
    const apart = s.loop.delay_ms ? `, ${span(s.loop.delay_ms)} apart` : "";
    add("loop", "loop", `repeats until ${s.loop.until}, at most ${times(s.loop.max, "time")}${apart}`);
  }
  if (s.approval) {
    const end = s.approval.timeout_ms ? `, waits at most ${span(s.approval.timeout_ms)}` : "";
    const title = s.approval.title ? `: ${written(s.approval.title)}` : "";
    add("asks", "approval", `asks ${asked(s.approval)} first${title}${end}`);
  }
  if (s.effect) add("effect", "effect", s.effect);
  if (s.retry && s.retry.attempts > 1) add("retry", "retry", retries(s.retry));
  if (s.timeout_ms) add("timeout", "timeout", `an attempt takes at most ${span(s.timeout_ms)}`);
  if (s.step_timeout_ms)
    add("timeout", "stepTimeout", `all attempts and pauses together take at most ${span(s.step_timeout_ms)}`);
  if (s.cache) add("cache", "cache", `keeps its outputs for ${span(s.cache.ttl_ms)}${per(s.cache.key)}`);
  if (s.concurrency)
    add("limit", "concurrency", `at most ${s.concurrency.limit} at a time${per(s.concurrency.key)}, in all runs`);
  if (s.priority !== undefined) add("priority", "priority", String(s.priority));
  for (const c of s.catch ?? []) {
    const kinds = c.on.length > 0 ? c.on.join(", ") : "any error";
    add(
      "catch",
      "catch",
      c.outputs === undefined ? `the run goes on after ${kinds}` : `on ${kinds} completes with ${written(c.outputs)}`,
    );
  }
  if (s.undo) add("undo", "undo", `is taken back by ${s.undo}`);
  return out;
}

function retries(r: NonNullable<DefinitionStep["retry"]>): string {
  const on = r.on.length > 0 ? ` on ${r.on.join(" or ")}` : "";
  if (!r.backoff_ms) return `${times(r.attempts, "attempt")}${on}`;
  const grows = r.factor === 1 ? "" : `, growing ×${r.factor ?? 2}`;
  const cap = r.cap_ms ? ` up to ${span(r.cap_ms)}` : "";
  return `${times(r.attempts, "attempt")}${on}; pauses of ${span(r.backoff_ms)}${grows}${cap}${r.jitter ? ", varied" : ""}`;
}

/** The marks of a step on the canvas: one of each kind. */
export function marks(s: DefinitionStep): Setting[] {
  const out: Setting[] = [];
  for (const x of settings(s)) {
    const same = out.find((o) => o.kind === x.kind);
    if (same) same.words += `; ${x.words}`;
    else out.push({ ...x });
  }
  return out;
}

export interface Policy {
  kind: "limit" | "rate" | "key" | "timeout" | "priority" | "failure" | "durability";
  /** as it is called in the text of a workflow */
  name: string;
  words: string;
  /** the workflow that it names */
  workflow?: string;
}

const further = {
  queue: "further ones wait",
  skip: "further ones do not start",
  "cancel-oldest": "the oldest is cancelled",
};
const limited = (l: Limit) => `${times(l.limit, "run")} at a time${per(l.key)}, ${further[l.policy ?? "queue"]}`;

/** What holds for the runs of a workflow. */
export function policies(p: Policies | undefined): Policy[] {
  if (!p) return [];
  const out: Policy[] = [];
  if (p.concurrency) out.push({ kind: "limit", name: "concurrency", words: limited(p.concurrency) });
  if (p.rate_limit) {
    const r = p.rate_limit;
    const burst = r.burst ? `, ${r.burst} at once` : "";
    out.push({
      kind: "rate",
      name: "rateLimit",
      words: `${times(r.count, "start")} in ${span(r.per_ms)}${per(r.key)}${burst}`,
    });
  }
  if (p.idempotency_key !== undefined && p.idempotency_key !== null)
    out.push({ kind: "key", name: "idempotencyKey", words: `one run per ${written(p.idempotency_key)}` });
  if (p.timeout_ms) out.push({ kind: "timeout", name: "timeout", words: `at most ${span(p.timeout_ms)}` });
  if (p.priority) out.push({ kind: "priority", name: "priority", words: `priority ${p.priority}` });
  if (p.on_failure) out.push({ kind: "failure", name: "onFailure", words: "a failure starts", workflow: p.on_failure });
  if (p.durability === "none")
    out.push({ kind: "durability", name: "durability", words: "runs are kept once they have ended" });
  return out;
}
