import { describe, expect, it } from "vitest";
import type { Attempt, Run, RunEvent, StepRun } from "../../api/types";
import { apply, marks, segments, span } from "./state";

const at = (ms: number) => new Date(Date.UTC(2026, 0, 1) + ms).toISOString();
const attempt = (more: Partial<Attempt> = {}): Attempt => ({
  number: 1,
  state: "started",
  execution: "x",
  phases: [],
  progress: 0,
  started_at: at(0),
  ...more,
});
const step = (name: string, more: Partial<StepRun> = {}): StepRun => ({
  step: name,
  kind: "action",
  item_path: [],
  state: "running",
  items: -1,
  attempts: [],
  ...more,
});
const run = (steps: StepRun[] = []): Run => ({
  id: "r",
  workflow: "w",
  state: "running",
  trigger: { kind: "manual" },
  created_at: at(0),
  steps,
});

describe("events", () => {
  it("begin with a snapshot and end with the whole run", () => {
    const r = apply(undefined, { type: "snapshot", run: run([step("a")]) });
    expect(r?.steps).toHaveLength(1);
    expect(apply(r, { type: "end", run: { ...run(), state: "completed" } })?.state).toBe("completed");
  });

  it("add steps that were not known and keep the outputs that are", () => {
    let r = apply(run([step("a", { outputs: { x: 1 } })]), {
      type: "step",
      step: "b",
      item_path: [1],
      step_run: step("b", { item_path: [1] }),
    });
    expect(r?.steps?.map((s) => s.step)).toEqual(["a", "b"]);
    r = apply(r, { type: "step", step: "a", item_path: [], step_run: step("a", { state: "completed" }) });
    expect(r?.steps?.[0]).toMatchObject({ state: "completed", outputs: { x: 1 } });
  });

  it("never make an ended attempt run again", () => {
    const r = apply(
      run([
        step("a", {
          attempts: [attempt({ state: "completed", finished_at: at(9), phases: [{ kind: "started", at: at(1) }] })],
        }),
      ]),
      {
        type: "phase",
        step: "a",
        item_path: [],
        attempt: attempt(),
      },
    );
    expect(r?.steps?.[0]?.attempts[0]).toMatchObject({
      state: "completed",
      finished_at: at(9),
      phases: [{ kind: "started" }],
    });
  });

  it("tell what a step waits for, until it does not", () => {
    const w = { kind: "signal" as const, text: "go" };
    let r = apply(run([step("a")]), { type: "step", step: "a", step_run: step("a", { state: "waiting", wait: w }) });
    expect(r?.steps?.[0]?.wait).toEqual(w);
    r = apply(r, { type: "step", step: "a", step_run: step("a", { state: "completed" }) });
    expect(r?.steps?.[0]?.wait).toBeUndefined();
  });

  it("gather the results of a list as they come", () => {
    const part = (index: number, list = true): RunEvent => ({
      type: "output",
      step: "a",
      item_path: [],
      output: { attempt: 1, index, list, values: { x: index } },
    });
    let r = apply(run([step("a")]), part(0));
    r = apply(r, part(1));
    expect(r?.steps?.[0]).toMatchObject({ list: true, outputs: [{ x: 0 }, { x: 1 }] });
    expect(apply(r, part(5))?.steps?.[0]?.outputs).toEqual([{ x: 0 }, { x: 1 }]); // 2 to 4 were lost: they are read
    expect(apply(r, part(1))?.steps?.[0]?.outputs).toEqual([{ x: 0 }, { x: 1 }]); // told twice
    expect(apply(r, part(0))?.steps?.[0]?.outputs).toEqual([{ x: 0 }]); // the next attempt
    expect(apply(run([step("a")]), part(0, false))?.steps?.[0]?.outputs).toBeUndefined();
  });

  it("keep what a summary does not tell", () => {
    const r = apply(
      { ...run([step("a")]), inputs: { n: 1 } },
      { type: "run", run: { ...run(), steps: undefined, state: "cancelling" } },
    );
    expect(r).toMatchObject({ state: "cancelling", inputs: { n: 1 }, steps: [{ step: "a" }] });
  });
});

describe("the timeline", () => {
  it("splits an attempt at its phases", () => {
    const a = attempt({
      state: "completed",
      finished_at: at(20),
      phases: [
        { kind: "scheduled", at: at(2) },
        { kind: "booted", at: at(8) },
        { kind: "loaded", at: at(8) },
        { kind: "started", at: at(9) },
        { kind: "returned", at: at(19) },
      ],
    });
    expect(segments(a, 0).map((s) => [s.phase, s.to - s.from])).toEqual([
      ["scheduled", 2],
      ["booted", 6],
      ["started", 1],
      ["running", 10],
      ["ending", 1],
    ]);
  });

  it("grows while it runs and turns red when it fails", () => {
    const now = Date.parse(at(50));
    expect(segments(attempt(), now)).toEqual([{ phase: "running", from: Date.parse(at(0)), to: now }]);
    expect(segments(attempt({ state: "failed", finished_at: at(3) }), now).at(-1)).toMatchObject({ phase: "failed" });
    expect(segments(attempt({ started_at: undefined }), now)).toEqual([]);
  });

  it("spans the run", () => {
    const r = run([step("a", { attempts: [attempt({ finished_at: at(30) })] })]);
    expect(span({ ...r, finished_at: at(20) }, 0)).toEqual({ from: Date.parse(at(0)), to: Date.parse(at(30)) });
  });
});

describe("the graph", () => {
  it("shows the worst of a step's items and how many are done", () => {
    const m = marks(
      run([
        step("a", { state: "completed", started_at: at(0), finished_at: at(12) }),
        step("c", { item_path: [0], state: "completed" }),
        step("c", { item_path: [1], state: "failed" }),
        step("s", { state: "skipped", reason: "need failed" }),
      ]),
    );
    expect(m.a).toEqual({ state: "completed", note: "completed · 12 ms" });
    expect(m.c).toEqual({ state: "failed", note: "1 of 2 completed" });
    expect(m.s?.note).toBe("skipped: need failed");
  });

  it("tells what a switch chose and which trigger started it", () => {
    const route = { kind: "switch" as const, state: "completed" as const, started_at: at(0), finished_at: at(1) };
    const r = run([
      step("a", { ...route, outputs: { case: "order" } }),
      step("b", { ...route, outputs: { case: null } }),
      step("c", { kind: "workflow", state: "running", child: "x" }),
    ]);
    const m = marks({ ...r, trigger: { kind: "http", id: "web" }, state: "completed" });
    expect(m.a?.note).toBe("chose order");
    expect(m.b?.note).toBe("otherwise");
    expect(m.c?.child).toBe("x");
    expect(m["trigger:web"]?.state).toBe("completed");
    expect(m["result:"]?.state).toBe("completed");
    expect(marks({ ...r, state: "failed" })["result:"]?.state).toBe("skipped");
    expect(marks({ ...r, state: "running" })["result:"]).toBeUndefined();
    expect(marks({ ...r, trigger: { kind: "failure", id: "x" } })["trigger:x"]).toBeUndefined();
  });

  it("marks what was caught and what was taken back", () => {
    const m = marks(
      run([
        step("a", { state: "completed" }),
        step("a.undo", { state: "failed", undoes: "a" }),
        step("b", {
          state: "failed",
          caught: true,
          error: { kind: "out_of_stock", message: "no", retryable: false },
        }),
      ]),
    );
    expect(m.a?.note).toBe("could not be taken back");
    expect(m["a.undo"]).toBeUndefined();
    expect(m.b).toEqual({ state: "caught", note: "caught: out_of_stock" });
  });
});
