import { expect, it } from "vitest";
import type { Item, Json } from "../../api/types";
import { asKept, changes, edited, keptWords } from "./edited";

const item = (name: string, type: Item["type"], more: Partial<Item> = {}): Item => ({
  name,
  type,
  optional: false,
  ...more,
});
const file = { $file: "sha256:x", size: 3, name: "a.txt", type: "text/plain" };

const items = [
  item("city", "string"),
  item("count", "integer"),
  item("gift", "boolean"),
  item("extra", "json", { optional: true }),
  item("key", "password"),
  item("picture", "file"),
  item("folder", "directory"),
  item("text", "longstring"),
];
const before: Record<string, Json> = {
  city: "Oslo",
  count: 3,
  gift: true,
  extra: { a: 1 },
  key: "•••",
  picture: file,
  folder: { $dir: "sha256:y", size: 1, name: "d", type: "x" },
  text: { $ref: "sha256:z", size: 70_000 },
};

it("shows the earlier values, and says of the others that they are kept", () => {
  expect(edited(items, before)).toMatchObject({
    city: "Oslo",
    count: "3",
    gift: true,
    extra: '{\n  "a": 1\n}',
    key: "",
    picture: null,
  });
  expect(keptWords(items[5]!, before.picture)).toEqual({
    words: "Kept unless another is chosen: a.txt.",
    fixed: false,
  });
  expect(keptWords(items[6]!, before.folder)?.fixed).toBe(true);
  expect(keptWords(items[7]!, before.text)).toEqual({ words: "Kept as it was (68.4 KiB).", fixed: true });
  expect(asKept(items[4]!, before.key).optional).toBe(true);
  expect(asKept(items[0]!, before.city).optional).toBe(false);
});

it("sends what differs", () => {
  expect(changes(items, before, { city: "Oslo", count: 4, gift: true })).toEqual({ count: 4, extra: null });
  expect(changes(items, before, { city: "Oslo", count: 3, gift: true, extra: { a: 1 }, key: "new" })).toEqual({
    key: "new",
  });
  expect(changes([item("new", "string")], {}, { new: "x" })).toEqual({ new: "x" });
});
