import { expect, it } from "vitest";
import type { Definition } from "../../api/types";
import { arrange, wayOf } from "./layout";

const step = (id: string, ...needs: string[]) => ({ id, kind: "action" as const, uses: id, needs, with: {} });
const diamond: Definition = {
  inputs: [],
  triggers: [{ id: "a", uses: "http" }],
  steps: [step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c")],
  result: ["out"],
};

it("goes from the triggers through the steps to the result", () => {
  const { nodes, wires } = arrange(diamond);
  const x = (id: string) => nodes.find((n) => n.id === id)!.x;
  expect(x("trigger:a")).toBeLessThan(x("a"));
  expect(x("a")).toBeLessThan(x("b"));
  expect(x("b")).toBe(x("c"));
  const upright = arrange(diamond, "TB").nodes;
  expect(upright.find((n) => n.id === "b")!.y).toBe(upright.find((n) => n.id === "c")!.y);
  expect(x("d")).toBeLessThan(x("result:"));
  expect(wires).toContainEqual({ from: "trigger:a", to: "a" });
  expect(wires).toContainEqual({ from: "d", to: "result:" });
  expect(wires).not.toContainEqual({ from: "a", to: "result:" });
});

it("leaves out wires that longer ways make plain", () => {
  const { wires } = arrange({
    inputs: [],
    triggers: [],
    steps: [step("a"), step("b", "a"), step("c", "a", "b")],
    result: [],
  });
  expect(wires).toEqual([
    { from: "a", to: "b" },
    { from: "b", to: "c" },
  ]);
});

it("puts no two nodes on one place", () => {
  const places = arrange(diamond).nodes.map((n) => `${n.x},${n.y}`);
  expect(new Set(places).size).toBe(places.length);
});

it("draws what a broken definition has", () => {
  const { nodes, wires } = arrange({ inputs: [], triggers: [], steps: [step("a", "gone")], result: [] });
  expect(nodes).toHaveLength(1);
  expect(wires).toHaveLength(0);
});

it("says which case of a switch takes which way", () => {
  const route = {
    ...step("route"),
    kind: "switch" as const,
    uses: "",
    switch: "inputs.kind",
    cases: [
      { value: "invoice", steps: ["book"] },
      { value: "order", steps: ["ship", "label"] },
    ],
    default: ["other"],
  };
  const { wires } = arrange({
    inputs: [],
    triggers: [],
    steps: [
      route,
      step("book", "route"),
      step("ship", "route"),
      step("label", "route", "ship"),
      step("other", "route"),
      step("end", "book"),
    ],
    result: [],
  });
  expect(wires).toContainEqual({ from: "route", to: "book", label: "invoice" });
  expect(wires).toContainEqual({ from: "route", to: "label", label: "order" }); // chosen: never left out
  expect(wires).toContainEqual({ from: "route", to: "other", label: "otherwise" });
  expect(wires).toContainEqual({ from: "book", to: "end" });
});

it("tells the ways that a run took from those that it did not", () => {
  expect(wayOf("completed", "running")).toBe("taken");
  expect(wayOf("caught", "completed")).toBe("taken");
  expect(wayOf("completed", "skipped")).toBe("left");
  expect(wayOf("skipped", "completed")).toBe("left"); // a join of any
  expect(wayOf("running", "pending")).toBe("open");
  expect(wayOf("completed", "pending")).toBe("open");
  expect(wayOf("failed", "completed")).toBe("open"); // if: always()
  expect(wayOf(undefined, "completed")).toBe("open");
});
