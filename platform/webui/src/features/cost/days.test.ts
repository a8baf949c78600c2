import { expect, it } from "vitest";
import type { CostRow } from "../../api/types";
import { days, measureOf, ranked } from "./days";

const row = (workflow: string, cpu: number, day?: string): CostRow => ({
  workflow,
  day,
  runs: 1,
  cpu_seconds: cpu,
  gib_seconds: 10 - cpu,
});

it("ranks workflows by what is looked at", () => {
  expect(ranked([row("a", 1), row("b", 3), row("c", 3)], "cpu").map((r) => r.workflow)).toEqual(["b", "c", "a"]);
  expect(ranked([row("a", 1), row("b", 3)], "memory").map((r) => r.workflow)).toEqual(["a", "b"]);
  expect(measureOf("gone")).toBe("cpu");
});

it("has every day, and the small ones as one part", () => {
  const now = Date.parse("2026-11-04T10:00:00Z");
  const rows = [
    row("x", 1, "2026-11-02"),
    row("a", 2, "2026-11-02"),
    row("y", 3, "2026-11-02"),
    row("a", 1, "2026-11-04"),
  ];
  expect(days(rows, "cpu", "2026-11-01T23:00:00Z", now, ["a"])).toEqual([
    { day: "2026-11-01", total: 0, parts: [] },
    {
      day: "2026-11-02",
      total: 6,
      parts: [
        { workflow: "a", value: 2 },
        { workflow: "others", value: 4 },
      ],
    },
    { day: "2026-11-03", total: 0, parts: [] },
    { day: "2026-11-04", total: 1, parts: [{ workflow: "a", value: 1 }] },
  ]);
});
