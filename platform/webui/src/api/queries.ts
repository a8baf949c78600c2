import { queryOptions, infiniteQueryOptions } from "@tanstack/react-query";
import { get, path, query } from "./client";
import type {
  Action,
  ApiKey,
  Build,
  Bulk,
  CostRow,
  Deployment,
  Failure,
  List,
  Me,
  Named,
  Project,
  Repository,
  Revision,
  Run,
  Scan,
  Schedule,
  RunWait,
  Workflow,
} from "./types";

import { back, filterOf, type RunSearch } from "./search";

// Keys begin with the service and the project, so that a service's event stream can put all of
// them out of date at once.

export const me = queryOptions({
  queryKey: ["me"],
  queryFn: ({ signal }) => get<Me>("/authorization/v1/me", signal),
  retry: false,
  staleTime: 60_000,
});

export const projects = queryOptions({
  queryKey: ["projects"],
  queryFn: ({ signal }) => get<List<Project>>("/authorization/v1/projects", signal),
  staleTime: 60_000,
});

const one = <T>(service: string, project: string, ...rest: string[]) =>
  queryOptions({
    queryKey: [service, project, ...rest],
    queryFn: ({ signal }) => get<T>(path(service, project, ...rest), signal),
  });

const pages = <T>(
  service: string,
  project: string,
  rest: string[],
  params: Record<string, string | number | undefined> = {},
) =>
  infiniteQueryOptions({
    queryKey: [service, project, ...rest, "pages", params],
    queryFn: ({ signal, pageParam }) =>
      get<List<T>>(query(path(service, project, ...rest), { limit: 50, ...params, cursor: pageParam }), signal),
    initialPageParam: "",
    getNextPageParam: (last) => last.next_cursor || undefined,
  });

export const workflows = (p: string) => one<List<Workflow>>("studio", p, "workflows");
export const workflow = (p: string, name: string) => one<Workflow>("studio", p, "workflows", name);
export const revisions = (p: string, name: string) => pages<Revision>("studio", p, ["workflows", name, "revisions"]);
export const revision = (p: string, name: string, n: number) => ({
  ...one<Revision>("studio", p, "workflows", name, "revisions", String(n)),
  staleTime: Infinity,
});
export const actions = (p: string) => one<List<Action>>("studio", p, "actions");
export const action = (p: string, id: string) => one<Action>("studio", p, "actions", id);

export const repositories = (p: string) => one<List<Repository>>("repository", p, "repositories");
export const repository = (p: string, id: string) => one<Repository>("repository", p, "repositories", id);
export const scans = (p: string, id: string) =>
  pages<Scan>("repository", p, ["repositories", id, "scans"], { limit: 20 });
export const builds = (p: string, params: { state?: string; action?: string } = {}) =>
  pages<Build>("repository", p, ["builds"], params);
export const build = (p: string, id: string) => one<Build>("repository", p, "builds", id);

/** The runs that a search finds. What lies back from now is reckoned anew with every reading. */
export const runs = (p: string, search: RunSearch) =>
  infiniteQueryOptions({
    queryKey: ["runner", p, "runs", "pages", search],
    queryFn: ({ signal, pageParam }) => {
      const q = new URLSearchParams([["limit", "50"]]);
      for (const [name, values] of Object.entries(filterOf(search, Date.now())))
        for (const v of values) q.append(name, v);
      if (pageParam) q.set("cursor", pageParam);
      return get<List<Run>>(`${path("runner", p, "runs")}?${q}`, signal);
    },
    initialPageParam: "",
    getNextPageParam: (last) => last.next_cursor || undefined,
  });
/** Failed runs by their cause. It is a sum over the history: not one for every event of the stream. */
export const failures = (p: string, workflow: string | undefined, since: string) =>
  queryOptions({
    queryKey: ["failures", p, workflow, since],
    queryFn: ({ signal }) =>
      get<List<Failure>>(
        query(path("runner", p, "failures"), { workflow, from: back(since, Date.now()), limit: 200 }),
        signal,
      ),
    refetchInterval: 5_000,
  });
/** What runs have used, by workflow and on demand by day. */
export const cost = (p: string, since: string, by?: "day", workflow?: string) =>
  queryOptions({
    queryKey: ["cost", p, since, by, workflow],
    queryFn: ({ signal }) =>
      get<List<CostRow>>(query(path("runner", p, "cost"), { from: back(since, Date.now()), by, workflow }), signal),
    refetchInterval: 30_000,
  });
export const bulks = (p: string) => one<List<Bulk>>("runner", p, "bulk");
export const schedules = (p: string) => ({ ...one<List<Schedule>>("runner", p, "schedules"), refetchInterval: 15_000 });
export const run = (p: string, id: string) => one<Run>("runner", p, "runs", id);
/** What waits for somebody: the kinds "approval", "consent", "lost" for a person, "signal". */
export const waits = (p: string, kinds: string[]) =>
  infiniteQueryOptions({
    queryKey: ["runner", p, "waits", "pages", kinds],
    queryFn: ({ signal, pageParam }) => {
      const q = new URLSearchParams([["limit", "100"], ...kinds.map((k) => ["kind", k])]);
      if (pageParam) q.set("cursor", pageParam);
      return get<List<RunWait>>(`${path("runner", p, "waits")}?${q}`, signal);
    },
    initialPageParam: "",
    getNextPageParam: (last) => last.next_cursor || undefined,
  });
export const deployments = (p: string) => one<List<Deployment>>("runner", p, "deployments");
export const secrets = (p: string) => one<List<Named>>("runner", p, "secrets");
export const variables = (p: string) => one<List<Named>>("runner", p, "variables");

export const keys = (p: string) =>
  queryOptions({
    queryKey: ["authorization", p, "keys"],
    queryFn: ({ signal }) => get<List<ApiKey>>(path("authorization", p, "keys"), signal),
  });
