import { describe, expect, it } from "vitest";
import type { Item } from "../../api/types";
import { collect, initial } from "./form";

const item = (type: string, more: Partial<Item> = {}): Item => ({ name: "x", type: type as Item["type"], ...more });

describe("the start form", () => {
  it.each([
    ["string", "a", "a"],
    ["integer", " 12 ", 12],
    ["integer", "-3", -3],
    ["float", "1,5", 1.5],
    ["boolean", true, true],
    ["json", '{"a": [1]}', { a: [1] }],
    ["list", "[1, 2]", [1, 2]],
    ["enum", "red", "red"],
    ["password", "pw", "pw"],
    ["string", "", ""],
  ])("%s %j is %j", (type, entry, want) => {
    const got = collect([item(type)], { x: entry as string });
    expect(got.errors).toEqual({});
    expect(got.inputs).toEqual({ x: want });
  });

  it.each([
    ["integer", "1.5", "whole number"],
    ["integer", "9007199254740993", "whole number"],
    ["float", "warm", "give a number"],
    ["json", "{", "is not JSON"],
    ["list", '{"a":1}', "JSON list"],
    ["integer", "", "fill this in"],
    ["file", null, "choose a file"],
  ])("%s %j is refused", (type, entry, message) => {
    const got = collect([item(type)], { x: entry as string });
    expect(got.errors.x).toContain(message);
    expect(got.inputs).toEqual({});
  });

  it("leaves out what is optional or has a default", () => {
    expect(collect([item("integer", { optional: true })], { x: "" }).inputs).toEqual({});
    expect(collect([item("float", { default: 2 })], { x: "" }).errors).toEqual({});
  });

  it("begins with the defaults", () => {
    expect(
      initial([
        item("json", { default: { a: 1 } }),
        { name: "b", type: "boolean", default: true },
        { name: "f", type: "file" },
      ]),
    ).toEqual({
      x: '{"a":1}',
      b: true,
      f: null,
    });
  });

  it("keeps files apart", () => {
    const f = new File(["x"], "x.csv");
    expect(collect([item("file")], { x: f }).files).toEqual({ x: f });
  });
});
