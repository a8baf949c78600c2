import type { Attempt, Cost, Run, StepRun } from "../../api/types";

// What runs and their parts use; pure, so that it can be tested.

/** What attempts have used together: an attempt's memory counts at its most for the whole of its time. */
export function costOf(attempts: Attempt[]): Cost {
  let cpu = 0;
  let gib = 0;
  for (const { usage: u } of attempts) {
    cpu += (u?.cpu_micros ?? 0) / 1e6;
    gib += ((u?.max_rss_bytes ?? 0) / 2 ** 30) * ((u?.wall_micros ?? 0) / 1e6);
  }
  return { cpu_seconds: cpu, gib_seconds: gib };
}

/** The cost of a step over all of its items. */
export const stepCost = (run: Run, step: string): Cost =>
  costOf((run.steps ?? []).filter((s: StepRun) => s.step === step).flatMap((s) => s.attempts));

/** The cost of a run, so far where it has not ended. */
export const runCost = (run: Run): Cost => run.cost ?? costOf((run.steps ?? []).flatMap((s) => s.attempts));

/** 0.004, 0.12, 3.5, 1,234 */
export function amount(n: number): string {
  if (n === 0) return "0";
  if (n < 0.001) return "< 0.001";
  if (n < 0.01) return n.toFixed(3);
  if (n < 10) return n.toFixed(2);
  return n < 100 ? n.toFixed(1) : Math.round(n).toLocaleString("en");
}

export const costWords = (c: Cost): string => `${amount(c.cpu_seconds)} CPU s · ${amount(c.gib_seconds)} GiB s`;
