import type { FileRef, Json } from "../api/types";

/** 0.4 ms, 12 ms, 3.2 s, 4 min 5 s, 2 h 3 min */
export function duration(ms: number | undefined): string {
  if (ms === undefined || !Number.isFinite(ms)) return "";
  if (ms < 0) ms = 0;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  const s = Math.round(ms / 1000);
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

export function bytes(n: number | undefined): string {
  if (n === undefined) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) {
    n /= 1024;
    i++;
  }
  return `${i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

/** Milliseconds since the epoch, with the microseconds that RFC 3339 texts of the timeline carry. */
export function millis(at: string): number {
  const ms = Date.parse(at);
  const micros = /\.\d{3}(\d{3})/.exec(at);
  return micros ? ms + Number(micros[1]) / 1000 : ms;
}

export const between = (from?: string, to?: string): number | undefined =>
  from && to ? millis(to) - millis(from) : undefined;

/** just now, 5 min ago, 3 h ago, yesterday … */
export function ago(at: string, now: number): string {
  const s = Math.max(0, (now - Date.parse(at)) / 1000);
  if (s < 5) return "just now";
  if (s < 60) return `${Math.floor(s)} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ago`;
  const days = Math.floor(s / 86_400);
  return days === 1 ? "yesterday" : `${days} days ago`;
}

/** in 5 min, in 3 h 20 min, in 2 d 4 h */
export function ahead(at: string, now: number): string {
  const s = Math.round((Date.parse(at) - now) / 1000);
  if (s < 1) return "now";
  if (s < 60) return `in ${s} s`;
  const min = Math.round(s / 60);
  if (min < 60) return `in ${min} min`;
  const rest = (n: number, unit: string) => (n > 0 ? ` ${n} ${unit}` : "");
  if (min < 1440) return `in ${Math.floor(min / 60)} h${rest(min % 60, "min")}`;
  const h = Math.round(min / 60);
  return `in ${Math.floor(h / 24)} d${rest(h % 24, "h")}`;
}

export const isFile = (v: unknown): v is FileRef =>
  typeof v === "object" && v !== null && ("$file" in v || "$dir" in v) && "size" in v;

/** One line of a value, for tables. */
export function brief(v: Json | undefined, max = 80): string {
  if (v === undefined) return "";
  const text = isFile(v) ? `${v.name} (${bytes(v.size)})` : typeof v === "string" ? v : JSON.stringify(v);
  return text.length > max ? `${text.slice(0, max - 1)}…` : text;
}

/** The words of a step run's place among the items of its fan-out: [] is "", [2,0] is "[2,0]". */
export const place = (path: number[]): string => (path.length ? `[${path.join(",")}]` : "");

export const short = (digest: string | undefined): string => (digest ?? "").replace(/^sha256:/, "").slice(0, 10);

/** "1 action", "2 actions". */
export const counted = (n: number, noun: string) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
