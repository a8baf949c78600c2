import { expect, it } from "vitest";
import type { Attempt, Run, StepRun } from "../../api/types";
import { amount, costOf, runCost, stepCost } from "./usage";

const attempt = (cpu: number, gib: number, wall: number): Attempt => ({
  number: 1,
  state: "completed",
  execution: "x",
  phases: [],
  progress: 0,
  usage: { cpu_micros: cpu * 1e6, max_rss_bytes: gib * 2 ** 30, wall_micros: wall * 1e6 },
});

it("sums what attempts used", () => {
  expect(costOf([attempt(1, 0.5, 4), attempt(0.5, 1, 1)])).toEqual({ cpu_seconds: 1.5, gib_seconds: 3 });
  expect(costOf([{ ...attempt(1, 1, 1), usage: undefined }])).toEqual({ cpu_seconds: 0, gib_seconds: 0 });
});

it("tells the cost of a step over its items and of a run that goes on", () => {
  const step = (name: string, i: number): StepRun => ({
    step: name,
    kind: "action",
    item_path: [i],
    state: "completed",
    items: -1,
    attempts: [attempt(1, 1, 1)],
  });
  const run = { steps: [step("a", 0), step("a", 1), step("b", 0)] } as Run;
  expect(stepCost(run, "a").cpu_seconds).toBe(2);
  expect(runCost(run).cpu_seconds).toBe(3);
  expect(runCost({ ...run, cost: { cpu_seconds: 9, gib_seconds: 1 } }).cpu_seconds).toBe(9);
});

it("writes amounts shortly", () => {
  expect([0, 0.0002, 0.004, 0.123, 3.456, 34.56, 1234.5].map(amount)).toEqual([
    "0",
    "< 0.001",
    "0.004",
    "0.12",
    "3.46",
    "34.6",
    "1,235",
  ]);
});
