import type { Me, Run, StepRun, StepWait } from "../../api/types";
import { duration } from "../../components/format";

// What a step waits for, in words, and who may end it; pure, so that it can be tested.

/** Whether a person decides. */
export const asksPerson = (kind: string): boolean => kind === "approval" || kind === "consent" || kind === "lost";

/** Whether it ends by somebody outside. */
export const outside = (kind: string): boolean => asksPerson(kind) || kind === "signal";

/** The cause in words, without the time. */
export function cause(w: StepWait, reason?: string): string {
  switch (w.kind) {
    case "signal":
      return `waits for the signal ${w.text}`;
    case "approval":
      return w.text || "waits for an approval";
    case "consent":
      return `may it start? ${w.text ?? ""}`.trim();
    case "lost":
      return w.text || "its attempt was lost: may it be tried again?";
    case "slot":
      return (reason || w.text || "waits for its turn") + inQueue(w);
    case "time":
      return "waits until its time has come";
    case "retry":
      return "backs off before the next attempt";
    case "pass":
      return "waits before the next pass";
    case "cache":
      return "asks the cache";
  }
}

const inQueue = (w: StepWait) => (w.position && w.position > 1 ? `, place ${w.position} in the queue` : "");

/** The cause around the runs that hold what is waited for, which are to be named between the two. */
export function causeAround(w: StepWait, reason?: string): [string, string] {
  const words = cause(w, reason);
  if (w.kind !== "slot" || !w.held_by?.length) return [words, ""];
  const named = /^(.*\bby) runs? [0-9a-f]{8}-[0-9a-f-]{27}/.exec(words);
  return named ? [named[1]!, inQueue(w)] : [words, ""];
}

/** What the end of the time means, and how far away it is. */
export function countdown(w: StepWait, now: number): string | undefined {
  if (!w.until) return undefined;
  const left = Date.parse(w.until) - now;
  const words = left <= 0 ? "now" : `in ${duration(Math.ceil(left / 1000) * 1000)}`;
  return outside(w.kind) ? `gives up ${words}` : `goes on ${words}`;
}

const ranks = ["", "viewer", "operator", "developer", "admin"];

/** Whether the person may decide. The server decides; this only hides what it would refuse. */
export function mayDecide(
  w: StepWait,
  who: Pick<Me, "name" | "admin" | "roles"> | undefined,
  project: string,
): boolean {
  if (!who) return false;
  const rank = who.admin ? 4 : ranks.indexOf(who.roles[project] ?? "");
  if (rank === 4) return true;
  const approvers = w.approvers?.length ? w.approvers : ["role:operator"];
  return approvers.some(
    (a) =>
      a === who.name || (a.startsWith("role:") && rank >= ranks.indexOf(a.slice(5), 1) && ranks.includes(a.slice(5))),
  );
}

/** The step runs of a run that wait, those that somebody can end first. */
export function waiting(run: Run): (StepRun & { wait: StepWait })[] {
  const all = (run.steps ?? []).filter((s): s is StepRun & { wait: StepWait } => !!s.wait);
  return [...all.filter((s) => outside(s.wait.kind)), ...all.filter((s) => !outside(s.wait.kind))];
}
