import { describe, expect, it } from "vitest";
import { back, filterOf, fromLocal, readSearch, searches, toLocal, words } from "./search";

describe("a search for runs", () => {
  it("is read from an address, without what makes no sense", () => {
    expect(
      readSearch({ workflow: "order", state: "failed,gone,cancelled", since: "7d", error: 500, input: "city=Oslo" }),
    ).toEqual({
      workflow: "order",
      state: "failed,cancelled",
      since: "7d",
      error: "500",
      input: ["city=Oslo"],
    });
    expect(searches(readSearch({ state: "gone", since: "long", from: "yesterday", input: ["x"] }))).toBe(false);
    expect(readSearch({ from: "2026-11-01T00:00:00+01:00" }).from).toBe("2026-10-31T23:00:00.000Z");
  });

  it("is asked as the interface takes it", () => {
    const now = Date.parse("2026-11-08T00:00:00Z");
    expect(filterOf({ since: "24h", state: "failed,cancelled", input: ["a=1", "b=2"] }, now)).toEqual({
      from: ["2026-11-07T00:00:00.000Z"],
      state: ["failed,cancelled"],
      input: ["a=1", "b=2"],
    });
    expect(filterOf({ from: "2026-11-01T00:00:00.000Z", to: "2026-11-02T00:00:00.000Z" }, now)).toEqual({
      from: ["2026-11-01T00:00:00.000Z"],
      to: ["2026-11-02T00:00:00.000Z"],
    });
    expect(back("90m", now)).toBe("2026-11-07T22:30:00.000Z");
    expect(back("1w", now)).toBeUndefined();
  });

  it("is told in words", () => {
    expect(
      words({ workflow: ["order"], state: ["failed,cancelled"], error: ["no shelf"], group: ["1f"], input: ["a=1"] }),
    ).toEqual([
      "of order",
      "in the state failed or cancelled",
      "with “no shelf” in their error",
      "of the failure group 1f",
      "with the input a=1",
    ]);
    expect(words({})).toEqual([]);
  });

  it("takes local times and gives them back", () => {
    const iso = fromLocal("2026-11-01T06:30");
    expect(iso).toBe(new Date(2026, 10, 1, 6, 30).toISOString());
    expect(toLocal(iso)).toBe("2026-11-01T06:30");
    expect(fromLocal("")).toBeUndefined();
    expect(fromLocal("soon")).toBeUndefined();
    expect(toLocal(undefined)).toBe("");
  });
});
