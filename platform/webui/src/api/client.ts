import type { ProblemDetails } from "./types";

/** An error answer of a service (RFC 9457), or that none came. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly details: ProblemDetails,
  ) {
    super(details.detail || details.title);
    this.name = "Problem";
  }

  /** The message of one field, if the answer names it. */
  field(name: string): string | undefined {
    const found = this.details.errors?.find(
      (e) => e.field === name || e.field === `inputs.${name}` || e.field === `values.${name}`,
    );
    return found && [found.message, found.remedy].filter(Boolean).join(": ");
  }

  /** All that it says, for a notification. */
  get text(): string {
    const fields = (this.details.errors ?? []).map((e) =>
      [e.field, e.message, e.remedy && `(${e.remedy})`].filter(Boolean).join(" "),
    );
    return [this.message, ...fields].filter(Boolean).join("\n");
  }
}

export const textOf = (e: unknown): string =>
  e instanceof Problem ? e.text : e instanceof Error ? e.message : String(e);

/** The path of a project's resource: path("runner", "default", "runs", id). */
export const path = (service: string, project: string, ...rest: string[]): string =>
  `/${service}/v1/projects/${[project, ...rest].map(encodeURIComponent).join("/")}`;

/** Adds the query parameters that have a value. */
export function query(url: string, params: Record<string, string | number | boolean | undefined>): string {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(params)) if (v !== undefined && v !== "") q.set(k, String(v));
  const text = q.toString();
  return text ? `${url}?${text}` : url;
}

/** Called when the session has ended; main.tsx sends the person to the login page. */
export const session = { ended: () => {} };

export async function send(method: string, url: string, body?: unknown, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  let payload: BodyInit | undefined;
  if (body instanceof Blob) payload = body;
  else if (body !== undefined) {
    payload = JSON.stringify(body);
    headers.set("Content-Type", "application/json");
  }
  let answer: Response;
  try {
    answer = await fetch(url, { ...init, method, headers, body: payload, credentials: "same-origin" });
  } catch (e) {
    if (e instanceof DOMException && e.name === "AbortError") throw e;
    throw new Problem(0, {
      title: "The server does not answer",
      detail: "The server does not answer. Is it running?",
      status: 0,
    });
  }
  if (answer.ok) return answer;
  const text = await answer.text();
  let details: ProblemDetails;
  try {
    details = JSON.parse(text) as ProblemDetails;
  } catch {
    details = {
      title: answer.statusText || `The server answered ${answer.status}`,
      detail: text.slice(0, 500),
      status: answer.status,
    };
  }
  if (answer.status === 401 && !url.startsWith("/authorization/v1/login")) session.ended();
  throw new Problem(answer.status, details);
}

export async function get<T>(url: string, signal?: AbortSignal): Promise<T> {
  return (await (await send("GET", url, undefined, { signal })).json()) as T;
}

export async function call<T = void>(method: "POST" | "PUT" | "DELETE", url: string, body?: unknown): Promise<T> {
  const text = await (await send(method, url, body)).text();
  return (text ? JSON.parse(text) : undefined) as T;
}
