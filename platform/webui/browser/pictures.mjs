// Takes the pictures of the documents: a real platform with the examples, light, at one size.
//   node browser/pictures.mjs LINK    LINK as a terminal prints it
// Run it with `pelton dev examples --showcase` from a folder whose path may be seen by all, such as
// /srv/pelton; the run of weather-report is the one that this makes.
import { join, resolve, dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { browser } from "./chromium.mjs";

const link = process.argv[2];
const out = resolve(dirname(fileURLToPath(import.meta.url)), "../../docs/pictures");
const { context, close } = await browser();
const page = await context.newPage();
await page.setViewportSize({ width: 1200, height: 720 });
await page.goto(new URL("/app/default/workflows", link).href);
await page.getByRole("heading", { name: "Sign in to Pelton" }).waitFor();
await page.screenshot({ path: join(out, "login.png") });
await page.goto(link);
await page.getByRole("heading", { name: "Workflows" }).waitFor();

const take = async (name, path, seen, part) => {
  await page.goto(new URL(`/app/default${path}`, link).href);
  await seen(page).waitFor();
  await picture(name, part);
};
const picture = async (name, part) => {
  await page.waitForLoadState("load");
  await page.evaluate(() => document.fonts.ready);
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  await (part ? page.locator(part) : page).screenshot({ path: join(out, `${name}.png`) });
};
/** Calls the runner as the page does. */
const api = (method, path, body) =>
  page.evaluate(
    async ([m, p, b]) => {
      const answer = await fetch(`/runner/v1/projects/default${p}`, {
        method: m,
        headers: { "Content-Type": "application/json" },
        body: b && JSON.stringify(b),
      });
      if (!answer.ok) throw new Error(await answer.text());
      return answer.status === 204 ? undefined : answer.json();
    },
    [method, path, body],
  );
const start = async (workflow, inputs = {}) => (await api("POST", "/runs", { workflow, inputs })).id;
/** Starts a run and shows its page until it is in a state. */
const ran = async (workflow, inputs, state) => {
  const id = await start(workflow, inputs);
  await page.goto(new URL(`/app/default/runs/${id}`, link).href);
  await page.locator(`main h1 ~ [data-state="${state}"]`).waitFor({ timeout: 120_000 });
  return id;
};

const report = (await api("GET", "/runs?workflow=weather-report&state=completed")).items[0].id;
const chosen = await ran("pattern-switch", { kind: "voucher" }, "completed");
const waiting = await ran("pattern-approval", {}, "waiting");
for (const item of ["no-book", "no-lamp", "no-pen"]) await ran("pattern-undo", { item }, "failed");
await ran("pattern-order", { item: "no-book" }, "failed");
await ran("pattern-limits", { order: "1" }, "completed");
await ran("pattern-loop", {}, "completed");
const range = {
  workflow: "pattern-schedule",
  trigger: "morning",
  from: "2026-10-01T00:00:00Z",
  to: "2026-10-08T00:00:00Z",
};
await api("POST", "/backfill", range);
await api("POST", "/bulk", { kind: "retry", filter: { workflow: ["pattern-order"], state: ["failed"] } });

await take("workflows", "/workflows", (p) => p.getByText("weather-report"));
await take("workflow", "/workflows/weather-report?step=chart", (p) => p.getByText("once for each"));
await take("policies", "/workflows/pattern-limits?step=charge", (p) => p.getByText("at most 2 at a time"));
await take("start", "/workflows/weather-report?start=true", (p) => p.getByRole("dialog").getByText("city"));
await take("runs", "/runs", (p) => p.getByText("weather-report").first());
await take("run", `/runs/${report}?step=chart[1]`, (p) => p.getByText("Inputs and outputs"));
await take("canvas", `/runs/${chosen}`, (p) => p.getByText("chose voucher"), ".graph");
await take("again", `/runs/${report}?again=true`, (p) => p.getByRole("dialog").getByText("city"));
await take("failures", "/failures", (p) => p.locator(".failure").nth(1));
await page.getByRole("button", { name: "Retry all of the group" }).first().click();
await page.getByRole("dialog").getByText(/runs$/).first().waitFor();
await picture("bulk");
await take("orders", "/orders", (p) => p.locator("[data-order]").nth(1).locator('[data-state="done"]'));
await take("schedules", "/schedules", (p) => p.getByText("pattern-schedule"));
await take("backfill", "/schedules?backfill=pattern-schedule/morning", (p) => p.getByText(/due times in that range/));
await take("cost", "/cost?since=7d", (p) => p.locator(".daychart"));
await take("approvals", "/approvals", (p) => p.getByRole("button", { name: "Decide" }).first());
await take("waiting", `/runs/${waiting}`, (p) => p.getByRole("button", { name: "Approve" }));
await take("log", `/runs/${report}?tab=logs`, (p) => p.locator(".log, .empty").first());
await take("library", "/library", (p) => p.getByText("Render a chart"));
await take("action", "/library/render-chart", (p) => p.getByText("Builds"));
await take("repositories", "/repositories", (p) => p.getByText("weather-report").first());
await page.getByRole("link", { name: "weather-report" }).click();
await page.getByText("What was found").waitFor();
await page.screenshot({ path: join(out, "repository.png") });
await page.getByRole("tab", { name: "Builds" }).click();
await page.locator('tr[data-build^="render-chart"]').click();
await page.getByText("Build of render-chart").waitFor();
await page.getByText("added").first().waitFor();
await page.screenshot({ path: join(out, "build.png") });
await api("POST", "/workflows/pattern-limits/pause", { reason: "the bank is down until noon" });
await take("paused", "/workflows/pattern-limits", (p) => p.getByText("the bank is down until noon"));
await api("POST", "/workflows/pattern-limits/resume", {});
await take("secrets", "/secrets", (p) => p.getByText("Variables").first());
await take("keys", "/keys", (p) => p.getByText("examples"));
await close();
