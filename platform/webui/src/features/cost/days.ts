import type { CostRow } from "../../api/types";

// The sums of a project by day, as a picture needs them; pure, so that it can be tested.

export const measures = [
  { value: "cpu", label: "CPU seconds" },
  { value: "memory", label: "GiB seconds" },
  { value: "runs", label: "Runs" },
] as const;
export type Measure = (typeof measures)[number]["value"];

export const measureOf = (v: string | undefined): Measure => measures.find((m) => m.value === v)?.value ?? "cpu";

export const valueOf = (r: CostRow, m: Measure): number =>
  m === "cpu" ? r.cpu_seconds : m === "memory" ? r.gib_seconds : r.runs;

/** The workflows, the dearest first. */
export const ranked = (rows: CostRow[], m: Measure): CostRow[] =>
  [...rows].sort((a, b) => valueOf(b, m) - valueOf(a, m) || a.workflow.localeCompare(b.workflow));

export interface Day {
  day: string;
  total: number;
  parts: { workflow: string; value: number }[];
}

/** Every day of the time up to today in UTC, also those without runs, with its parts in the given
 * order of workflows; those that are not in it are one part, "others". */
export function days(rows: CostRow[], m: Measure, since: string, now: number, order: string[]): Day[] {
  const out = new Map<string, Day>();
  const last = new Date(now).toISOString().slice(0, 10);
  for (let t = Date.parse(`${since.slice(0, 10)}T00:00:00Z`); ; t += 86_400_000) {
    const day = new Date(t).toISOString().slice(0, 10);
    if (day > last) break;
    out.set(day, { day, total: 0, parts: [] });
  }
  for (const r of rows) {
    const d = out.get(r.day ?? "");
    if (!d) continue;
    const workflow = order.includes(r.workflow) ? r.workflow : "others";
    const part = d.parts.find((p) => p.workflow === workflow);
    if (part) part.value += valueOf(r, m);
    else d.parts.push({ workflow, value: valueOf(r, m) });
    d.total += valueOf(r, m);
  }
  const place = (w: string) => (order.includes(w) ? order.indexOf(w) : order.length);
  for (const d of out.values()) d.parts.sort((a, b) => place(a.workflow) - place(b.workflow));
  return [...out.values()];
}
