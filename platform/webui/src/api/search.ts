// A search for runs: as it stands in the address, as the interface takes it, and in words. Pure,
// so that it can be tested.

export interface RunSearch {
  workflow?: string;
  /** one state, or several with commas between them */
  state?: string;
  /** back from now: 1h, 24h, 7d */
  since?: string;
  /** RFC 3339; instead of since */
  from?: string;
  to?: string;
  /** part of the error's message */
  error?: string;
  kind?: string;
  group?: string;
  trigger?: string;
  /** name=value, all of them */
  input?: string[];
  retry_of?: string;
}

export const runStates = [
  "queued",
  "running",
  "waiting",
  "paused",
  "undoing",
  "cancelling",
  "completed",
  "failed",
  "cancelled",
];
export const triggerKinds = [
  "manual",
  "http",
  "cron",
  "source",
  "workflow",
  "failure",
  "workflow-end",
  "platform-event",
  "cloudevent",
  "rabbitmq",
];

export const spans = [
  { value: "1h", label: "last hour" },
  { value: "24h", label: "last 24 hours" },
  { value: "7d", label: "last 7 days" },
  { value: "30d", label: "last 30 days" },
];

const units: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** The time that lies so far back from now, undefined for what is no such span. */
export function back(span: string, now: number): string | undefined {
  const m = /^(\d{1,5})([mhd])$/.exec(span);
  return m ? new Date(now - Number(m[1]) * units[m[2]!]!).toISOString() : undefined;
}

const text = (v: unknown): string | undefined =>
  typeof v === "string" && v !== "" ? v : typeof v === "number" || typeof v === "boolean" ? String(v) : undefined;

const time = (v: unknown): string | undefined => {
  const t = text(v);
  return t && !Number.isNaN(Date.parse(t)) ? new Date(t).toISOString() : undefined;
};

/** Reads a search out of an address; what makes no sense is left out. */
export function readSearch(s: Record<string, unknown>): RunSearch {
  const since = text(s.since);
  const states = text(s.state)
    ?.split(",")
    .filter((x) => runStates.includes(x));
  const inputs = (Array.isArray(s.input) ? s.input : [s.input])
    .map(text)
    .filter((x): x is string => !!x && x.includes("="));
  return {
    workflow: text(s.workflow),
    state: states?.length ? states.join(",") : undefined,
    since: since && back(since, 0) !== undefined ? since : undefined,
    from: time(s.from),
    to: time(s.to),
    error: text(s.error),
    kind: text(s.kind),
    group: text(s.group),
    trigger: text(s.trigger),
    input: inputs.length > 0 ? inputs : undefined,
    retry_of: text(s.retry_of),
  };
}

/** The search as the interface takes it. */
export function filterOf(s: RunSearch, now: number): Record<string, string[]> {
  const from = s.from ?? (s.since ? back(s.since, now) : undefined);
  const all: Record<string, string | string[] | undefined> = { ...s, since: undefined, from };
  const out: Record<string, string[]> = {};
  for (const [name, v] of Object.entries(all)) if (v !== undefined) out[name] = Array.isArray(v) ? v : [v];
  return out;
}

/** Whether anything is searched for. */
export const searches = (s: RunSearch): boolean => Object.values(s).some((v) => v !== undefined);

/** A filter of the interface in words, a part each. */
export function words(filter: Record<string, string[]>): string[] {
  const first = (name: string) => filter[name]?.[0];
  const at = (t: string) => new Date(t).toLocaleString();
  const [from, to] = [first("from"), first("to")];
  return [
    first("workflow") && `of ${first("workflow")}`,
    first("state") && `in the state ${first("state")!.replace(/,/g, " or ")}`,
    from && to ? `started from ${at(from)} to ${at(to)}` : from ? `started since ${at(from)}` : "",
    !from && to ? `started before ${at(to)}` : "",
    first("error") && `with “${first("error")}” in their error`,
    first("kind") && `failed with ${first("kind")}`,
    first("group") && `of the failure group ${first("group")}`,
    first("trigger") && `started by ${first("trigger")}`,
    ...(filter.input ?? []).map((i) => `with the input ${i}`),
    first("retry_of") && `that repeat the run ${first("retry_of")}`,
  ].filter((w): w is string => !!w);
}

/** A time of an address as a field for local time shows it, and back. */
export function toLocal(iso: string | undefined): string {
  if (!iso) return "";
  const d = new Date(iso);
  return new Date(d.getTime() - d.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
export const fromLocal = (local: string): string | undefined =>
  local && !Number.isNaN(Date.parse(local)) ? new Date(local).toISOString() : undefined;
