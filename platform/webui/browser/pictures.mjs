// Takes the pictures of the documents: a real platform with the examples, light, at one size.
//   node browser/pictures.mjs LINK RUN WAITING    LINK as a terminal prints it, RUN a run of
// weather-report, WAITING one that waits for an approval, such as pattern-approval's
// Run the platform from a folder whose path may be seen by all, such as /srv/pelton.
import { join, resolve, dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { browser } from "./chromium.mjs";

const [link, run, waiting] = process.argv.slice(2);
const out = resolve(dirname(fileURLToPath(import.meta.url)), "../../docs/pictures");
const { context, close } = await browser();
const page = await context.newPage();
await page.setViewportSize({ width: 1200, height: 720 });
await page.goto(new URL("/app/default/workflows", link).href);
await page.getByRole("heading", { name: "Sign in to Pelton" }).waitFor();
await page.screenshot({ path: join(out, "login.png") });
await page.goto(link);
await page.getByRole("heading", { name: "Workflows" }).waitFor();
const take = async (name, path, seen) => {
  await page.goto(new URL(`/app/default${path}`, link).href);
  await seen(page).waitFor();
  await page.waitForLoadState("load");
  await page.evaluate(() => document.fonts.ready);
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  await page.screenshot({ path: join(out, `${name}.png`) });
};
await take("workflows", "/workflows", (p) => p.getByText("weather-report"));
await take("workflow", "/workflows/weather-report?step=chart", (p) => p.getByText("for each of"));
await take("start", "/workflows/weather-report?start=true", (p) => p.getByRole("dialog").getByText("city"));
await take("runs", "/runs", (p) => p.getByText("weather-report").first());
await take("run", `/runs/${run}?step=chart[1]`, (p) => p.getByText("Inputs and outputs"));
await take("approvals", "/approvals", (p) => p.getByRole("button", { name: "Decide" }).first());
await take("waiting", `/runs/${waiting}`, (p) => p.getByRole("button", { name: "Approve" }));
await take("log", `/runs/${run}?tab=logs`, (p) => p.locator(".log, .empty").first());
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
await take("secrets", "/secrets", (p) => p.getByText("Variables").first());
await take("keys", "/keys", (p) => p.getByText("examples"));
await close();
