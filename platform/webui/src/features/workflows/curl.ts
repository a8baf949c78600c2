import type { Endpoint, Workflow } from "../../api/types";

/** The command that calls an endpoint, with a place for every input. */
export function curl(origin: string, e: Endpoint, w: Workflow): string {
  const used = new Set([...e.path.matchAll(/\{(\w+)\}/g)].map((m) => m[1]));
  const url = origin + e.path.replace(/\{(\w+)\}/g, "<$1>");
  const trigger = w.definition?.triggers.find((t) => t.id === e.trigger);
  const settings = (trigger?.with ?? {}) as Record<string, unknown>;
  const parts = ["curl -f"];
  if (e.method !== "GET" && e.method !== "POST") parts.push(`-X ${e.method}`);
  if (settings.auth !== "none") parts.push("-H 'Authorization: Bearer <key>'");
  const rest = (w.definition?.inputs ?? []).filter((i) => !used.has(i.name) && !i.optional && i.default === undefined);
  const body = typeof settings.body === "string" ? rest.find((i) => i.name === settings.body) : undefined;
  if (e.method === "GET" || e.method === "HEAD") {
    return [...parts, `'${url}${rest.length ? `?${rest.map((i) => `${i.name}=<${i.name}>`).join("&")}` : ""}'`].join(
      " ",
    );
  }
  if (body?.type === "file") parts.push(`-F ${body.name}=@<file>`);
  else if (rest.some((i) => i.type === "file"))
    for (const i of rest) parts.push(`-F ${i.name}=${i.type === "file" ? "@<file>" : `<${i.name}>`}`);
  else {
    const fields = Object.fromEntries(rest.map((i) => [i.name, `<${i.name}>`]));
    parts.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(body ? `<${body.name}>` : fields)}'`);
  }
  return [...parts, `'${url}'`].join(" ");
}
