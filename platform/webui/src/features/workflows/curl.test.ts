import { expect, it } from "vitest";
import type { Item, Json, Workflow } from "../../api/types";
import { curl } from "./curl";

const w = (inputs: Item[], settings: Json = {}): Workflow => ({
  name: "w",
  auto_deploy: true,
  problems: [],
  created_at: "",
  revision: 1,
  definition: { inputs, triggers: [{ id: "t", uses: "http", with: settings }], steps: [], result: [] },
});
const item = (name: string, type: Item["type"] = "string", more: Partial<Item> = {}): Item => ({ name, type, ...more });
const at = (method: string, path: string) => ({ trigger: "t", method, path });

it("posts JSON with a place for every needed input", () => {
  expect(curl("http://h", at("POST", "/user-api/p/x"), w([item("a"), item("b", "integer", { optional: true })]))).toBe(
    `curl -f -H 'Authorization: Bearer <key>' -H 'Content-Type: application/json' -d '{"a":"<a>"}' 'http://h/user-api/p/x'`,
  );
});

it("posts files as a form and fills the path", () => {
  expect(
    curl("http://h", at("POST", "/user-api/p/{city}"), w([item("city"), item("data", "file")], { body: "data" })),
  ).toBe("curl -f -H 'Authorization: Bearer <key>' -F data=@<file> 'http://h/user-api/p/<city>'");
});

it("asks by query where there is no body, and without a key where none is needed", () => {
  expect(curl("http://h", at("GET", "/user-api/p/x"), w([item("q")], { auth: "none" }))).toBe(
    "curl -f 'http://h/user-api/p/x?q=<q>'",
  );
});
