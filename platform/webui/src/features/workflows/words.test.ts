import { expect, it } from "vitest";
import type { DefinitionStep } from "../../api/types";
import { does, marks, notes } from "./words";

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

it("marks what a step has besides", () => {
  expect(marks(step({ if: "x", for_each: "y", undo: "z" }))).toEqual(["if", "for each", "undo"]);
  expect(marks(step({ loop: { until: "x", max: 9 } }))).toEqual(["up to 9×"]);
  expect(marks(step({ kind: "switch" }))).toEqual(["switch"]);
});

it("tells what is done about failures and effects", () => {
  expect(
    notes(
      step({
        join: "any",
        catch: [{ on: ["timeout"], outputs: { n: 1 } }, { on: [] }],
        undo: "refund",
        effect: "write",
        approval: { title: "Pay?", approvers: ["ada"] },
      }),
    ),
  ).toEqual([
    "runs once any of the steps before completed",
    'on timeout completes with {"n":1}',
    "the run goes on after any error",
    "is taken back by refund",
    "asks ada first: Pay?",
    "effect: write",
  ]);
});
