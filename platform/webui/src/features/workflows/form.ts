import type { Item, Json } from "../../api/types";

/** What a field of the start form holds before it is sent. */
export type Entry = string | boolean | File | null;
export type Entries = Record<string, Entry>;

/** What the form shows at first. */
export function initial(items: Item[]): Entries {
  return Object.fromEntries(
    items.map((i) => {
      if (i.type === "boolean") return [i.name, i.default === true];
      if (i.type === "file" || i.type === "directory") return [i.name, null];
      const d = i.default;
      return [i.name, d === undefined || d === null ? "" : typeof d === "string" ? d : JSON.stringify(d)];
    }),
  );
}

/** Turns the entries into inputs, with a message per field that cannot be one. Files are kept
 * apart: they are uploaded first. An optional field left empty is left out. */
export function collect(
  items: Item[],
  entries: Entries,
): { inputs: Record<string, Json>; files: Record<string, File>; errors: Record<string, string> } {
  const inputs: Record<string, Json> = {};
  const files: Record<string, File> = {};
  const errors: Record<string, string> = {};
  for (const i of items) {
    const v = entries[i.name];
    if (v instanceof File) {
      files[i.name] = v;
      continue;
    }
    if (typeof v === "boolean") {
      inputs[i.name] = v;
      continue;
    }
    if (v === null || v === undefined || v === "") {
      if (i.optional || i.default !== undefined) continue;
      if (i.type === "string" || i.type === "longstring") inputs[i.name] = "";
      else errors[i.name] = i.type === "file" ? "choose a file" : "fill this in";
      continue;
    }
    switch (i.type) {
      case "integer":
        if (/^[+-]?\d+$/.test(v.trim()) && Number.isSafeInteger(Number(v))) inputs[i.name] = Number(v);
        else errors[i.name] = "give a whole number, such as 12";
        break;
      case "float": {
        const n = Number(v.trim().replace(",", "."));
        if (Number.isFinite(n)) inputs[i.name] = n;
        else errors[i.name] = "give a number, such as 1.5";
        break;
      }
      case "json":
      case "list":
        try {
          const parsed = JSON.parse(v) as Json;
          if (i.type === "list" && !Array.isArray(parsed)) errors[i.name] = 'give a JSON list, such as ["a", "b"]';
          else inputs[i.name] = parsed;
        } catch (e) {
          errors[i.name] = `is not JSON: ${(e as Error).message}`;
        }
        break;
      default:
        inputs[i.name] = v;
    }
  }
  return { inputs, files, errors };
}
