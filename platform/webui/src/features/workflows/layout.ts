import dagre from "@dagrejs/dagre";
import type { Definition, DefinitionStep } from "../../api/types";
import { marks } from "./words";

export interface Placed {
  id: string;
  kind: "trigger" | "step" | "result";
  x: number;
  y: number;
}

export interface Wire {
  from: string;
  to: string;
  /** Of the wires of a switch: which case takes this way. */
  label?: string;
}

/** Of a wire in a run: it was taken, will not be, or nobody knows yet. */
export type Way = "taken" | "left" | "open";

const passed = new Set(["completed", "caught"]);

/** The way of a run between two nodes, by their states. */
export function wayOf(from: string | undefined, to: string | undefined): Way {
  if (to === "skipped" || from === "skipped") return "left";
  if (from === undefined || !passed.has(from)) return "open";
  return to === undefined || to === "pending" || to === "cancelled" ? "open" : "taken";
}

/** Of a step's node, and of what stands at the ends. */
export const nodeWidth = { trigger: 136, step: 184, result: 136 };
/** Of a node, and of one with a row of marks below. */
const heights = { plain: 64, marked: 84 };

export interface Layout {
  nodes: Placed[];
  wires: Wire[];
  width: number;
  height: number;
}

/** Places a definition's triggers, steps and result from left to right, or from top to bottom where
 * there is no width. Ids of triggers and of the result are marked, so that a step of the same name
 * is another node. */
export function arrange(d: Definition, rankdir: "LR" | "TB" = "LR"): Layout {
  const g = new dagre.graphlib.Graph();
  g.setGraph({ rankdir, nodesep: 24, ranksep: 36, marginx: 8, marginy: 8 });
  g.setDefaultEdgeLabel(() => ({}));
  const kinds = new Map<string, Placed["kind"]>();
  const add = (id: string, kind: Placed["kind"], height = heights.plain) => {
    kinds.set(id, kind);
    g.setNode(id, { width: nodeWidth[kind], height });
  };
  const wires: Wire[] = [];
  const labels = new Map(d.steps.map((s) => [s.id, ways(s)]));
  const wire = (from: string, to: string) => {
    if (!kinds.has(from) || !kinds.has(to)) return;
    const label = labels.get(from)?.get(to);
    wires.push(label === undefined ? { from, to } : { from, to, label });
  };
  for (const t of d.triggers) add(`trigger:${t.id}`, "trigger");
  for (const s of d.steps) add(s.id, "step", marks(s).length > 0 ? heights.marked : heights.plain);
  if (d.result.length > 0) add("result:", "result");
  const needed = new Set(d.steps.flatMap((s) => s.needs));
  for (const s of d.steps) {
    for (const n of s.needs) wire(n, s.id);
    if (s.needs.length === 0) for (const t of d.triggers) wire(`trigger:${t.id}`, s.id);
    if (!needed.has(s.id)) wire(s.id, "result:");
  }
  const drawn = reduce(wires);
  for (const w of drawn)
    g.setEdge(w.from, w.to, w.label ? { width: 8 * w.label.length, height: 14, labelpos: "c" } : {});
  dagre.layout(g);
  const nodes = [...kinds].map(([id, kind]) => {
    const n = g.node(id);
    return { id, kind, x: n.x - n.width / 2, y: n.y - n.height / 2 };
  });
  const { width = 0, height = 0 } = nodes.length > 0 ? g.graph() : {};
  return { nodes, wires: drawn, width, height };
}

/** Which case of a switch chooses which step. */
function ways(s: DefinitionStep): Map<string, string> {
  const out = new Map<string, string>();
  for (const c of s.cases ?? [])
    for (const to of c.steps) out.set(to, out.has(to) ? `${out.get(to)}, ${c.value}` : c.value);
  for (const to of s.default ?? []) out.set(to, "otherwise");
  return out;
}

/** Without the wires that longer ways make plain: they would be drawn across the steps between. */
function reduce(wires: Wire[]): Wire[] {
  const next = new Map<string, string[]>();
  for (const w of wires) next.set(w.from, [...(next.get(w.from) ?? []), w.to]);
  const reaches = (from: string, to: string, seen = new Set<string>()): boolean =>
    (next.get(from) ?? []).some((n) => n === to || (!seen.has(n) && (seen.add(n), reaches(n, to, seen))));
  return wires.filter(
    (w) => w.label !== undefined || !(next.get(w.from) ?? []).some((n) => n !== w.to && reaches(n, w.to)),
  );
}
