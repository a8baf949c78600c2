import type { DefinitionStep, Json, Question, Wait } from "../../api/types";

/** A value as written, in one line. */
export const written = (v: Json | undefined) => (typeof v === "string" ? v : JSON.stringify(v));

/** What a step does, in a few words. */
export function does(s: DefinitionStep): string {
  switch (s.kind) {
    case "workflow":
      return `${s.detach ? "starts" : "runs"} workflow ${s.workflow ?? ""}`;
    case "wait":
      return s.wait ? waits(s.wait) : "waits";
    case "switch":
      return `by ${s.switch ?? ""}`;
    case "collect":
      return `collects ${s.collect ?? ""}`;
    default:
      return s.uses;
  }
}

export function waits(w: Wait): string {
  if (w.signal) return `waits for signal ${w.signal}`;
  if (w.approval) return `asks ${asked(w.approval)}`;
  if (w.until !== undefined) return `waits until ${written(w.until)}${w.timezone ? ` ${w.timezone}` : ""}`;
  return `waits ${written(w.for)}`;
}

/** Whom a question is put to. */
export const asked = (q: Question) => (q.approvers.length > 0 ? q.approvers.join(", ") : "an operator");

/** The short marks of a step on the canvas. */
export function marks(s: DefinitionStep): string[] {
  return [
    s.if && "if",
    s.for_each && "for each",
    s.loop && `up to ${s.loop.max}×`,
    s.kind !== "action" && s.kind,
    s.approval && "asks",
    s.undo && "undo",
  ].filter((t): t is string => typeof t === "string" && t !== "");
}

/** What is done about failures and effects, a line each. */
export function notes(s: DefinitionStep): string[] {
  const out: string[] = [];
  if (s.join && s.join !== "all")
    out.push(`runs once ${s.join === "any" ? "any" : s.join} of the steps before completed`);
  if (s.loop) out.push(`repeats until ${s.loop.until}, at most ${s.loop.max} times`);
  for (const c of s.catch ?? []) {
    const kinds = c.on.length > 0 ? c.on.join(", ") : "any error";
    out.push(
      c.outputs === undefined ? `the run goes on after ${kinds}` : `on ${kinds} completes with ${written(c.outputs)}`,
    );
  }
  if (s.undo) out.push(`is taken back by ${s.undo}`);
  if (s.approval)
    out.push(`asks ${asked(s.approval)} first${s.approval.title ? `: ${written(s.approval.title)}` : ""}`);
  if (s.cached) out.push("keeps its outputs for others with the same key");
  if (s.effect) out.push(`effect: ${s.effect}`);
  return out;
}
