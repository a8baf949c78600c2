import { expect, it } from "vitest";
import type { DefinitionStep } from "../../api/types";
import { does, marks, policies, settings, split, takes } from "./words";

const step = (more: Partial<DefinitionStep>): DefinitionStep => ({
  id: "a",
  kind: "action",
  uses: "",
  needs: [],
  with: {},
  ...more,
});

it("says what each kind of step does", () => {
  expect(does(step({ uses: "count@1.0" }))).toBe("count@1.0");
  expect(does(step({ kind: "workflow", workflow: "other" }))).toBe("runs workflow other");
  expect(does(step({ kind: "workflow", workflow: "other", detach: true }))).toBe("starts workflow other");
  expect(does(step({ kind: "switch", switch: "inputs.kind" }))).toBe("by inputs.kind");
  expect(does(step({ kind: "collect", collect: "b" }))).toBe("collects b");
  expect(does(step({ kind: "wait", wait: { for: "10m" } }))).toBe("waits 10m");
  expect(does(step({ kind: "wait", wait: { until: "2026-12-01T09:00", timezone: "Europe/Paris" } }))).toBe(
    "waits until 2026-12-01T09:00 Europe/Paris",
  );
  expect(does(step({ kind: "wait", wait: { signal: "paid" } }))).toBe("waits for signal paid");
  expect(does(step({ kind: "wait", wait: { approval: { approvers: [] } } }))).toBe("asks an operator");
  expect(does(step({ kind: "wait", wait: { approval: { approvers: ["ada", "role:admin"] } } }))).toBe(
    "asks ada, role:admin",
  );
});

it("marks what a step has besides, once for each kind", () => {
  const s = step({
    if: "x",
    for_each: { in: "${[1]}", as: "x", concurrency: 4, on_error: "collect" },
    timeout_ms: 90_000,
    step_timeout_ms: 2 * 86_400_000,
    undo: "z",
  });
  expect(marks(s).map((m) => m.kind)).toEqual(["if", "each", "timeout", "undo"]);
  expect(marks(s)[1]?.words).toBe("once for each x of ${[1]}, 4 at a time; failed items stay as errors");
  expect(marks(s)[2]?.words).toBe(
    "an attempt takes at most 1 min 30 s; all attempts and pauses together take at most 2 d",
  );
  expect(marks(step({}))).toEqual([]);
});

it("tells all that holds for a step", () => {
  expect(
    settings(
      step({
        join: "any",
        loop: { until: "pass.last.done", max: 9, delay_ms: 2000 },
        catch: [{ on: ["timeout"], outputs: { n: 1 } }, { on: [] }],
        undo: "refund",
        effect: "write",
        approval: { title: "Pay?", approvers: ["ada"], timeout_ms: 3_600_000 },
        retry: { attempts: 3, on: ["busy"], backoff_ms: 1500, factor: 2, cap_ms: 60_000, jitter: true },
        cache: { key: "${inputs.q}", ttl_ms: 5_400_000 },
        concurrency: { limit: 2, key: "${inputs.customer}" },
        priority: 0,
      }),
    ).map((x) => [x.name, x.words]),
  ).toEqual([
    ["join", "runs once any of the steps before completed"],
    ["loop", "repeats until pass.last.done, at most 9 times, 2 s apart"],
    ["approval", "asks ada first: Pay?, waits at most 1 h"],
    ["effect", "write"],
    ["retry", "3 attempts on busy; pauses of 1.5 s, growing ×2 up to 1 min, varied"],
    ["cache", "keeps its outputs for 1 h 30 min per ${inputs.q}"],
    ["concurrency", "at most 2 at a time per ${inputs.customer}, in all runs"],
    ["priority", "0"],
    ["catch", 'on timeout completes with {"n":1}'],
    ["catch", "the run goes on after any error"],
    ["undo", "is taken back by refund"],
  ]);
  expect(settings(step({ retry: { attempts: 1, on: [] } }))).toEqual([]);
});

it("tells what holds for runs", () => {
  const p = policies({
    timeout_ms: 604_800_000,
    priority: -3,
    idempotency_key: "${inputs.order}",
    concurrency: { key: "${inputs.customer}", limit: 1, policy: "cancel-oldest" },
    rate_limit: { count: 10, per_ms: 60_000, burst: 20 },
    on_failure: "notify",
    durability: "none",
  });
  expect(p.map((x) => x.words)).toEqual([
    "1 run at a time per ${inputs.customer}, the oldest is cancelled",
    "10 starts in 1 min, 20 at once",
    "one run per ${inputs.order}",
    "at most 7 d",
    "priority -3",
    "a failure starts",
    "runs are kept once they have ended",
  ]);
  expect(policies(undefined)).toEqual([]);
});

it("says which revisions take new runs", () => {
  const d = (more: object) => ({
    id: "d",
    revision: 7,
    state: "live" as const,
    endpoints: [],
    created_at: "",
    ...more,
  });
  const shared = d({
    traffic: [
      { revision: 7, weight: 90, deployment: "d" },
      { revision: 8, weight: 10, deployment: "e" },
    ],
  });
  expect(split(d({}))).toBe("7");
  expect(split(shared)).toBe("7 (90%), 8 (10%)");
  expect([6, 7].map((r) => takes(d({}), r))).toEqual([0, 100]);
  expect([7, 8, 9].map((r) => takes(shared, r))).toEqual([90, 10, 0]);
  expect(takes(d({ state: "stopped" }), 7)).toBe(0);
  expect(takes(undefined, 7)).toBe(0);
});
