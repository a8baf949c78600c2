// The page as a person uses it, in a real browser against a real platform. Waits are for what is
// seen, never for time.
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { browser } from "./chromium.mjs";
import { operating } from "./operate.mjs";
import { Platform } from "./platform.mjs";

const shots = resolve(dirname(fileURLToPath(import.meta.url)), "../../../build/screenshots");
let platform, chromium, page;
const complaints = [];

before(async () => {
  mkdirSync(shots, { recursive: true });
  [platform, chromium] = await Promise.all([Platform.start(), browser()]);
  page = await chromium.context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("pageerror", (e) => complaints.push(e.message));
  page.on("console", (m) => {
    if (m.type() === "error" && !m.text().includes("Failed to load resource") && !m.text().includes("ERR_CONNECTION"))
      complaints.push(m.text());
  });
});

after(async () => {
  await chromium?.close();
  await platform?.stop();
});

const shot = (name) => page.screenshot({ path: join(shots, `${name}.png`) });
const go = (path) => page.goto(`${platform.url}/app/default${path}`);
const state = (s) => page.locator(`main h1 ~ [data-state="${s}"]`);
const step = (key) => page.locator(`[data-step="${key}"]`);

test("without a session every page leads to the login, and back", async () => {
  await go("/runs?state=failed");
  await page.getByRole("heading", { name: "Sign in to Pelton" }).waitFor();
  await page.getByLabel("Password", { exact: true }).fill("not it");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").waitFor();
  await shot("login");
  await page.getByLabel("Password", { exact: true }).fill(platform.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Runs" }).waitFor();
  assert.match(page.url(), /\/app\/default\/runs\?state=failed$/);
});

test("the link of the terminal signs in, once", async () => {
  await page.getByRole("button", { name: "account" }).click();
  await page.getByRole("menuitem", { name: "Log out" }).click();
  await page.getByRole("heading", { name: "Sign in to Pelton" }).waitFor();
  await page.goto(platform.link);
  await page.getByRole("heading", { name: "Workflows" }).waitFor();
  const other = await chromium.context.browser()?.newContext();
  const again = await (other ?? chromium.context).newPage();
  await again.goto(platform.link);
  await again.getByText("used already or is too old").waitFor();
  await again.close();
});

test("workflows tell what is live and what is wrong", async () => {
  await platform.live("order", "slow", "boom", "chatty");
  await go("/workflows");
  await page.getByRole("link", { name: "order", exact: true }).waitFor();
  await page.locator("tr", { hasText: "order" }).locator('[data-state="live"]').waitFor();
  await page.locator("tr", { hasText: "lost" }).getByText("1 error").waitFor();
  await shot("workflows");
  await page.getByRole("link", { name: "lost", exact: true }).click();
  await page
    .getByRole("alert")
    .getByText(/nowhere/)
    .waitFor();
  await shot("workflow-errors");
});

test("a workflow has a graph, its text, its revisions, all by address", async () => {
  await go("/workflows/slow");
  await page.locator(".react-flow__node", { hasText: "second" }).click();
  await page.getByText("${steps.first.ticks}").waitFor();
  assert.match(page.url(), /step=second/);
  await page.reload();
  await page.getByText("${steps.first.ticks}").waitFor();
  await shot("workflow");
  await page.getByRole("tab", { name: "YAML" }).click();
  await page.getByText("kind: Workflow").waitFor();
  await page.getByRole("tab", { name: "Revisions" }).click();
  await page.getByText("revision 1", { exact: true }).waitFor();
  assert.match(page.url(), /tab=revisions/);
  await go("/workflows/order");
  await page.getByText(/curl -f .*\/user-api\/default\/order/).waitFor();
});

test("the start form checks its fields and starts one run", async () => {
  await go("/workflows/order?start=true");
  const form = page.getByRole("dialog");
  await form.getByLabel("Item").fill("lamp");
  await form.getByRole("button", { name: "Start" }).click();
  await page.getByText("fill this in").first().waitFor();
  await form.getByLabel("count").fill("3");
  await form.getByLabel("price").fill("9.5");
  await form.getByLabel("extra").fill("{");
  await form.getByRole("button", { name: "Start" }).click();
  await page.getByText(/is not JSON/).waitFor();
  await shot("start-form");
  await form.getByLabel("extra").fill('{"wrap": true}');
  await page
    .locator('input[type="file"]')
    .setInputFiles({ name: "a.txt", mimeType: "text/plain", buffer: Buffer.from("picture") });
  await form.getByRole("button", { name: "Start" }).click();
  await state("completed").waitFor();
  await page.getByText("a.txt").first().waitFor();
  await step("take").click();
  await page.getByText('"item": "lamp"').waitFor();
  await shot("run");
  assert.match(page.url(), /step=take/);
});

test("a run is seen as it goes, through a reload and a restart of the platform", async () => {
  const gate = join(platform.dir, "gate");
  const id = await platform.run("slow", { gate });
  await go(`/runs/${id}?step=first&tab=logs`);
  await state("running").waitFor();
  await page.getByText("live", { exact: true }).waitFor();
  await page
    .getByText(/^tick \d+$/)
    .first()
    .waitFor();
  await shot("run-live");
  await page.reload();
  await page
    .getByText(/^tick \d+$/)
    .first()
    .waitFor();
  assert.match(page.url(), /tab=logs/);
  await platform.crash();
  await page.getByText("connecting…").waitFor();
  await platform.up();
  await page.getByText("live", { exact: true }).waitFor({ timeout: 60_000 });
  writeFileSync(gate, "");
  await state("completed").waitFor({ timeout: 60_000 });
  await step("second").locator('[data-state="completed"]').waitFor();
});

test("a run can be cancelled", async () => {
  const id = await platform.run("slow", { gate: join(platform.dir, "never") });
  await go(`/runs/${id}`);
  await state("running").waitFor();
  await page.getByRole("button", { name: "Cancel" }).click();
  await state("cancelled").waitFor({ timeout: 30_000 });
});

test("a failure shows its reason and the author's lines", async () => {
  const id = await platform.run("boom");
  await go(`/runs/${id}`);
  await state("failed").waitFor();
  await page.getByRole("alert").getByText("the shelf is empty").first().waitFor();
  await page.getByText("handler.py").first().waitFor();
  await step("after").locator('[data-state="skipped"]').waitFor();
  await shot("run-failed");
  await go("/runs?state=failed");
  await page.locator("tr", { hasText: "boom" }).getByText("the shelf is empty").waitFor();
});

const waits = (key) => page.locator(`[data-waits="${key}"]`);

test("a run that waits tells for what, and goes on by a signal and a decision", async () => {
  await platform.live("ask", "told", "back", "parts");
  const id = await platform.run("ask");
  await go(`/runs/${id}`);
  await state("waiting").waitFor();
  await page.getByLabel("1 waiting").waitFor();
  await waits("ok").getByText("Ship lamp?").waitFor();
  await waits("ok")
    .getByText(/gives up in \d d/)
    .waitFor();
  await shot("run-waiting");
  await waits("paid").getByRole("button", { name: "Send signal" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Payload").fill("{");
  await dialog.getByRole("button", { name: "Send" }).click();
  await dialog.getByText("is not JSON").waitFor();
  await dialog.getByLabel("Payload").fill('{"paid": true}');
  await dialog.getByRole("button", { name: "Send" }).click();
  await step("paid").locator('[data-state="completed"]').waitFor();
  await waits("ok").getByRole("button", { name: "Approve" }).click();
  await page.getByText("fill this in").waitFor();
  await waits("ok").getByLabel("Price").fill("12");
  await waits("ok").getByLabel("Comment").fill("looks good");
  await waits("ok").getByRole("button", { name: "Approve" }).click();
  await state("completed").waitFor();
  await page.getByText("lamp for 12").first().waitFor();
  await page.getByLabel("1 waiting").waitFor({ state: "detached" });
});

test("approvals list what waits, in every run", async () => {
  const id = await platform.run("ask", { item: "chair" });
  await go("/approvals");
  const row = page.locator("tr", { hasText: "Ship chair?" });
  await row.waitFor();
  await shot("approvals");
  await row.getByRole("button", { name: "Decide" }).click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Price").waitFor();
  await shot("approval");
  await form.getByLabel("Comment").fill("too dear");
  await form.getByRole("button", { name: "Reject" }).click();
  await row.waitFor({ state: "detached" });
  await page.getByText("Signals", { exact: true }).click();
  await page.locator("tr", { hasText: "payment" }).getByRole("button", { name: "Send signal" }).waitFor();
  await go(`/runs/${id}?step=ok`);
  await page.getByRole("alert").getByText("too dear").first().waitFor();
  await page.getByRole("button", { name: "Cancel" }).click();
  await state("failed").or(state("cancelled")).waitFor();
});

test("a run can be paused and resumed", async () => {
  const gate = join(platform.dir, "paused");
  const id = await platform.run("slow", { gate });
  await go(`/runs/${id}`);
  await page.getByRole("button", { name: "Pause" }).click();
  await state("paused").waitFor();
  writeFileSync(gate, "");
  await step("first").locator('[data-state="completed"]').waitFor();
  await shot("run-paused");
  await page.getByRole("button", { name: "Resume" }).click();
  await state("completed").waitFor();
});

test("what was caught, called, taken back and handled is marked; a run goes on from a step", async () => {
  const id = await platform.run("back");
  await go(`/runs/${id}`);
  await state("failed").waitFor();
  await step("gift").locator('[data-state="caught"]').waitFor();
  await step("charge.undo").getByLabel("takes charge back").waitFor();
  await page.locator(".react-flow__node", { hasText: "taken back" }).waitFor();
  await shot("run-undone");
  await page.getByRole("link", { name: "another run" }).click();
  await page.getByText("handles the failure of").waitFor();
  await page.getByRole("link", { name: "back", exact: true }).click();
  await step("sub").click();
  await page.getByRole("link", { name: "its run" }).click();
  await page.getByText("called by step sub of").waitFor();
  await go(`/runs/${id}?step=sub`);
  await page.getByRole("button", { name: "Retry from here" }).click();
  await page.getByRole("menuitem", { name: /of this run/ }).click();
  await step("charge").locator('[data-state="completed"]').waitFor();
  await step("charge").click();
  await page.getByText("kept", { exact: true }).waitFor();
  assert.ok(!page.url().includes(id));
  await state("failed").waitFor();
});

test("results are seen as they are given", async () => {
  const gate = join(platform.dir, "last-part");
  const id = await platform.run("parts", { gate });
  await go(`/runs/${id}?step=parts`);
  await page.getByText("two", { exact: false }).first().waitFor();
  await state("running").waitFor();
  await shot("run-parts");
  writeFileSync(gate, "");
  await state("completed").waitFor();
  await page.getByText("three", { exact: false }).first().waitFor();
});

test("100,000 lines stay smooth", async () => {
  const id = await platform.run("chatty");
  await go(`/runs/${id}`);
  await state("completed").waitFor({ timeout: 60_000 });
  // The rest is asked for while the first part is still being read, as on a slow line.
  await page.route(/\/logs\?/, async (request) => {
    await new Promise((r) => setTimeout(r, 200));
    await request.continue();
  });
  await go(`/runs/${id}?tab=logs`);
  await page.getByRole("button", { name: "Load more" }).click();
  await page.getByTestId("log-count").getByText("100,000 lines", { exact: true }).waitFor({ timeout: 60_000 });
  await page.unroute(/\/logs\?/);
  await page.getByText("line 99999", { exact: true }).waitFor();
  assert.ok((await page.locator(".log .line").count()) < 200, "only what is seen is in the page");
  await page.getByLabel("find in the log").fill("line 4711");
  await page.getByText("line 47110", { exact: true }).waitFor();
  await shot("log");
});

test("runs come in by themselves", async () => {
  await go("/runs");
  const rows = page.locator("tbody tr");
  await rows.first().waitFor();
  const before = await rows.count();
  await platform.run("order", { item: "x", count: 1, price: 1 });
  await page.waitForFunction((n) => document.querySelectorAll("tbody tr").length > n, before);
  await shot("runs");
});

test("the library and the repositories show what was scanned and built", async () => {
  await go("/library");
  await page.getByLabel("search").fill("order");
  await page.getByRole("link", { name: "Take an order" }).click();
  await page.getByText("one of red, green, blue").waitFor();
  await shot("action");
  await go("/library");
  await shot("library");
  await go("/repositories");
  await page.getByRole("link", { name: "broken" }).waitFor();
  await shot("repositories");
  await page.getByRole("link", { name: "broken" }).click();
  await page.getByText(/action\.yaml:7.*strng/).waitFor();
  await shot("repository");
  await go("/repositories");
  await page.getByRole("link", { name: "shop" }).click();
  await page.getByRole("tab", { name: "Builds" }).click();
  await page.locator('tr[data-build^="form@"]').click();
  await page.getByText("Build of form@1.0").waitFor();
  assert.match(page.url(), /build=/);
  await shot("build");
});

test("a repository that cannot be read is told in words", async () => {
  await go("/repositories");
  await page.getByRole("button", { name: "Add repository" }).click();
  await page.getByLabel("URL").fill("file:///nowhere/at-all.git");
  await page.getByRole("button", { name: "Add and scan" }).click();
  await page.getByRole("alert").waitFor();
  await shot("repository-refused");
});

test("secrets never come back, variables do", async () => {
  await go("/secrets");
  const secret = page.locator("form").first();
  const variable = page.locator("form").last();
  await secret.getByLabel("name").fill("api_token");
  await secret.getByLabel("value").fill("hush-hush");
  await secret.getByRole("button", { name: "Set" }).click();
  await page.getByRole("cell", { name: "api_token", exact: true }).waitFor();
  await variable.getByLabel("name").fill("greeting");
  await variable.getByLabel("value").fill('{"en": "hello"}');
  await variable.getByRole("button", { name: "Set" }).click();
  await page.getByText('{"en":"hello"}').waitFor();
  await page.reload();
  await page.getByText("•••").first().waitFor();
  assert.equal(await page.getByText("hush-hush").count(), 0);
  await secret.getByLabel("name").fill("not a name!");
  await secret.getByLabel("value").fill("x");
  await secret.getByRole("button", { name: "Set" }).click();
  await page.getByRole("alert").waitFor();
  await shot("secrets");
  await page.getByLabel("remove api_token").click();
  await page.getByRole("cell", { name: "api_token", exact: true }).waitFor({ state: "detached" });
});

test("an API key is shown once and can be revoked", async () => {
  await go("/keys");
  await page.getByLabel("Name").fill("till");
  await page.getByRole("button", { name: "Create key" }).click();
  await page.getByText("it is not shown again").waitFor();
  const key = await page.locator("code", { hasText: "pk_" }).first().textContent();
  await shot("keys");
  const call = () => fetch(`${platform.url}/authorization/v1/me`, { headers: { Authorization: `Bearer ${key}` } });
  assert.equal((await call()).status, 200);
  await page.reload();
  await page.getByRole("cell", { name: "till", exact: true }).waitFor();
  assert.equal(await page.getByText(key).count(), 0);
  await page.locator("tr", { hasText: "till" }).getByRole("button", { name: "Revoke" }).click();
  await page.getByRole("cell", { name: "till", exact: true }).waitFor({ state: "detached" });
  assert.equal((await call()).status, 401);
});

operating({ page: () => page, platform: () => platform, go, shot, state, step, ended: (id) => platform.done(id) });

test("what is not there says so, also in the dark", async () => {
  await go("/runs/0190b5c0-7c3e-7000-8000-000000000000");
  await page.getByText("Not found").waitFor();
  await go("/workflows");
  await page.getByLabel("dark colours").click();
  await page.getByRole("link", { name: "order", exact: true }).waitFor();
  await shot("workflows-dark");
});

test("the browser had nothing to complain about", () => assert.deepEqual(complaints, []));
