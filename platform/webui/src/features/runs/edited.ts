import type { Item, Json } from "../../api/types";
import { bytes, isFile } from "../../components/format";
import { type Entries, initial } from "../workflows/form";

// The form of a run that is run again: what it shows at first, and what differs in the end. Pure,
// so that it can be tested.

const isRef = (v: Json | undefined): v is { $ref: string; size?: number } =>
  typeof v === "object" && v !== null && "$ref" in v;

/** What is said of an input whose earlier value is not shown in its field: it is kept unless another
 * one is given, or (fixed) it cannot be edited here. */
export function keptWords(i: Item, v: Json | undefined): { words: string; fixed: boolean } | undefined {
  if (v === undefined || v === null) return i.type === "directory" ? { words: "Left out.", fixed: true } : undefined;
  if (isRef(v)) return { words: `Kept as it was${v.size ? ` (${bytes(v.size)})` : ""}.`, fixed: true };
  if (i.type === "password") return { words: "Kept unless it is given anew.", fixed: false };
  if (isFile(v) && i.type === "file") return { words: `Kept unless another is chosen: ${v.name}.`, fixed: false };
  if (isFile(v) || i.type === "directory") return { words: "Kept as it was.", fixed: true };
  return undefined;
}

/** The input as the form asks for it: what is kept need not be given. */
export const asKept = (i: Item, v: Json | undefined): Item => (keptWords(i, v) ? { ...i, optional: true } : i);

/** What the form shows at first: the earlier values. */
export function edited(items: Item[], before: Record<string, Json>): Entries {
  const out = initial(items);
  for (const i of items) {
    const v = before[i.name];
    if (v === undefined || v === null || keptWords(i, v)) {
      if (i.type === "password") out[i.name] = "";
      continue;
    }
    if (i.type === "boolean") out[i.name] = v === true;
    else out[i.name] = typeof v === "string" ? v : JSON.stringify(v, null, 2);
  }
  return out;
}

/** The inputs that differ from the earlier ones; what was emptied is null. */
export function changes(
  items: Item[],
  before: Record<string, Json>,
  given: Record<string, Json>,
): Record<string, Json> {
  const out: Record<string, Json> = {};
  for (const i of items) {
    const old = before[i.name];
    const now = given[i.name];
    if (now === undefined) {
      if (old !== undefined && old !== null && !keptWords(i, old)) out[i.name] = null;
    } else if (JSON.stringify(now) !== JSON.stringify(old)) out[i.name] = now;
  }
  return out;
}
