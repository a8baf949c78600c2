import { describe, expect, it } from "vitest";
import { ago, ahead, brief, bytes, counted, duration, millis, place, short } from "./format";

describe("what people read", () => {
  it.each([
    [undefined, ""],
    [-3, "0.0 ms"],
    [0.41, "0.4 ms"],
    [12.6, "13 ms"],
    [3240, "3.24 s"],
    [61_000, "1 min 1 s"],
    [7_380_000, "2 h 3 min"],
  ])("duration %s", (ms, want) => expect(duration(ms)).toBe(want));

  it.each([
    [0, "now"],
    [30, "in 30 s"],
    [300, "in 5 min"],
    [12_000, "in 3 h 20 min"],
    [187_200, "in 2 d 4 h"],
  ])("%s s ahead", (s, want) => expect(ahead(new Date(s * 1000).toISOString(), 0)).toBe(want));

  it.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1536, "1.5 KiB"],
    [150 * 1024, "150 KiB"],
    [2 * 1024 ** 3, "2.0 GiB"],
  ])("bytes %s", (n, want) => expect(bytes(n)).toBe(want));

  it("keeps the microseconds of a timeline", () => {
    expect(millis("2026-01-02T03:04:05.123456Z") - millis("2026-01-02T03:04:05.123Z")).toBeCloseTo(0.456, 3);
  });

  it("tells how long ago", () => {
    const now = Date.parse("2026-01-02T00:00:00Z");
    expect(ago("2026-01-01T23:59:58Z", now)).toBe("just now");
    expect(ago("2026-01-01T23:00:00Z", now)).toBe("1 h ago");
    expect(ago("2025-12-31T12:00:00Z", now)).toBe("yesterday");
    expect(ago("2025-12-20T00:00:00Z", now)).toBe("13 days ago");
  });

  it("says a value in one line", () => {
    expect(brief({ $file: "sha256:ab", size: 2048, name: "a.csv" })).toBe("a.csv (2.0 KiB)");
    expect(brief("x".repeat(100), 10)).toBe("xxxxxxxxx…");
    expect(brief([1, 2])).toBe("[1,2]");
    expect(place([])).toBe("");
    expect(place([2, 0])).toBe("[2,0]");
    expect(short("sha256:0123456789abcdef")).toBe("0123456789");
  });
  it("counts", () => {
    expect([counted(0, "item"), counted(1, "item"), counted(1200, "item")]).toEqual([
      "0 items",
      "1 item",
      "1,200 items",
    ]);
  });
});
