import type { QueryClient } from "@tanstack/react-query";
import { createRootRouteWithContext, createRoute, createRouter, Outlet, redirect } from "@tanstack/react-router";
import { me, projects } from "./api/queries";
import { back, readSearch } from "./api/search";
import { Empty, Failure } from "./components/basics";
import { Frame } from "./components/frame";
import { CostPage } from "./features/cost/cost";
import { ApprovalsPage } from "./features/approvals/list";
import { ActionPage } from "./features/library/action";
import { LibraryPage } from "./features/library/list";
import { LoginPage } from "./features/login/login";
import { RepositoriesPage } from "./features/repositories/list";
import { RepositoryPage } from "./features/repositories/repository";
import { OrdersPage } from "./features/runs/bulks";
import { FailuresPage } from "./features/runs/failures";
import { RunsPage } from "./features/runs/list";
import { RunPage } from "./features/runs/run";
import { SchedulesPage } from "./features/schedules/list";
import { KeysPage } from "./features/settings/keys";
import { SecretsPage } from "./features/settings/secrets";
import { WorkflowsPage } from "./features/workflows/list";
import { WorkflowPage } from "./features/workflows/workflow";

const text = (v: unknown): string | undefined => (typeof v === "string" && v !== "" ? v : undefined);
const span = (v: unknown): string | undefined => {
  const t = text(v);
  return t && back(t, 0) !== undefined ? t : undefined;
};

const root = createRootRouteWithContext<{ queries: QueryClient }>()({ component: Outlet, notFoundComponent: Nowhere });

const login = createRoute({
  getParentRoute: () => root,
  path: "/login",
  validateSearch: (s: Record<string, unknown>): { code?: string; next?: string } => ({
    code: text(s.code),
    next: text(s.next),
  }),
  component: LoginPage,
});

// The link that a terminal prints is /app/?code=…: it signs in once and goes on.
const start = createRoute({
  getParentRoute: () => root,
  path: "/",
  validateSearch: (s: Record<string, unknown>): { code?: string } => ({ code: text(s.code) }),
  beforeLoad: async ({ context, search }) => {
    if (search.code) throw redirect({ to: "/login", search: { code: search.code } });
    const found = await context.queries.ensureQueryData(projects);
    const first = found.items.find((p) => p.name === "default") ?? found.items[0];
    if (first) throw redirect({ to: "/$project/workflows", params: { project: first.name } });
  },
  component: () => <Empty title="You are in no project yet">Ask the platform&apos;s admin to add you to one.</Empty>,
});

const project = createRoute({
  getParentRoute: () => root,
  path: "/$project",
  beforeLoad: async ({ context }) => {
    await context.queries.ensureQueryData(me);
  },
  component: Frame,
});

const pages = [
  createRoute({
    getParentRoute: () => project,
    path: "/",
    beforeLoad: ({ params }) => {
      throw redirect({ to: "/$project/workflows", params });
    },
  }),
  createRoute({ getParentRoute: () => project, path: "/workflows", component: WorkflowsPage }),
  createRoute({
    getParentRoute: () => project,
    path: "/workflows/$name",
    validateSearch: (s: Record<string, unknown>): { tab?: string; step?: string; start?: boolean } => ({
      tab: text(s.tab),
      step: text(s.step),
      start: s.start === true || undefined,
    }),
    component: WorkflowPage,
  }),
  createRoute({
    getParentRoute: () => project,
    path: "/runs",
    validateSearch: readSearch,
    component: RunsPage,
  }),
  createRoute({
    getParentRoute: () => project,
    path: "/failures",
    validateSearch: (s: Record<string, unknown>): { workflow?: string; since?: string } => ({
      workflow: text(s.workflow),
      since: span(s.since),
    }),
    component: FailuresPage,
  }),
  createRoute({ getParentRoute: () => project, path: "/orders", component: OrdersPage }),
  createRoute({
    getParentRoute: () => project,
    path: "/schedules",
    validateSearch: (s: Record<string, unknown>): { backfill?: string } => ({ backfill: text(s.backfill) }),
    component: SchedulesPage,
  }),
  createRoute({
    getParentRoute: () => project,
    path: "/cost",
    validateSearch: (s: Record<string, unknown>): { workflow?: string; since?: string; of?: string } => ({
      workflow: text(s.workflow),
      since: span(s.since),
      of: text(s.of),
    }),
    component: CostPage,
  }),
  createRoute({
    getParentRoute: () => project,
    path: "/runs/$id",
    validateSearch: (s: Record<string, unknown>): { step?: string; tab?: string; again?: boolean } => ({
      step: text(s.step),
      tab: text(s.tab),
      again: s.again === true || undefined,
    }),
    component: RunPage,
  }),
  createRoute({
    getParentRoute: () => project,
    path: "/approvals",
    validateSearch: (s: Record<string, unknown>): { kind?: string; run?: string; step?: string } => ({
      kind: text(s.kind),
      run: text(s.run),
      step: text(s.step),
    }),
    component: ApprovalsPage,
  }),
  createRoute({
    getParentRoute: () => project,
    path: "/library",
    validateSearch: (s: Record<string, unknown>): { search?: string } => ({ search: text(s.search) }),
    component: LibraryPage,
  }),
  createRoute({ getParentRoute: () => project, path: "/library/$action", component: ActionPage }),
  createRoute({ getParentRoute: () => project, path: "/repositories", component: RepositoriesPage }),
  createRoute({
    getParentRoute: () => project,
    path: "/repositories/$id",
    validateSearch: (s: Record<string, unknown>): { build?: string; scan?: string; tab?: string } => ({
      build: text(s.build),
      scan: text(s.scan),
      tab: text(s.tab),
    }),
    component: RepositoryPage,
  }),
  createRoute({ getParentRoute: () => project, path: "/secrets", component: SecretsPage }),
  createRoute({ getParentRoute: () => project, path: "/keys", component: KeysPage }),
] as const;

function Nowhere() {
  return (
    <Empty title="There is no such page">
      <a href="/app/">Go to the workflows</a>
    </Empty>
  );
}

const tree = root.addChildren([login, start, project.addChildren(pages)]);

export const makeRouter = (queries: QueryClient) =>
  createRouter({
    routeTree: tree,
    basepath: "/app",
    context: { queries },
    defaultPreload: false,
    defaultErrorComponent: ({ error, reset }) => <Failure error={error} retry={reset} />,
  });

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
