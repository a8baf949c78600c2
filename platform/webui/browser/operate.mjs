// Tests of what operators do: find runs, deal with many at once, run again, schedules, pauses, cost.
// They run within page.test.mjs, on its platform.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

/** Registers the tests; at gives the page, the platform and what page.test.mjs does with them. */
export function operating(at) {
  const ended = async (...ids) => {
    for (const id of ids) await at.ended(id);
  };
  const dialog = () => at.page().getByRole("dialog");

  test("runs are found by time, state, error and input, by address", async () => {
    const { go, page, platform, shot } = { ...at, page: at.page(), platform: at.platform() };
    const why = ["no lamp 11 left", "no lamp 22 left"];
    await ended(...(await Promise.all(why.map((w) => platform.run("boom", { why: w })))));
    await go("/runs");
    const rows = page.locator("tbody tr");
    await page.getByRole("textbox", { name: "Workflow" }).click();
    await page.getByRole("option", { name: "boom" }).click();
    await page.getByLabel("Error text").fill("LAMP");
    await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 2);
    await page.getByLabel("Input", { exact: true }).fill("why");
    await page.getByLabel("Input", { exact: true }).press("Enter");
    await page.getByText("write name=value").waitFor();
    await shot("runs-filter-wrong");
    await page.getByLabel("Input", { exact: true }).fill("why=no lamp 22 left");
    await page.getByLabel("Input", { exact: true }).press("Enter");
    await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
    await page.getByRole("textbox", { name: "Started", exact: true }).click();
    await page.getByRole("option", { name: "last hour" }).click();
    await page.waitForURL(/since=1h/);
    await page.reload();
    await rows.getByText("no lamp 22 left").waitFor();
    assert.equal(await rows.count(), 1);
    for (const part of [/workflow=boom/, /error=LAMP/, /since=1h/, /input=/]) assert.match(page.url(), part);
    await shot("runs-filter");
    await page.getByRole("textbox", { name: "Started", exact: true }).click();
    await page.getByRole("option", { name: "between two times…" }).click();
    await page.getByLabel("to", { exact: true }).fill("2020-01-01T00:00");
    await page.getByText("give a time after the first").waitFor();
    await page.getByLabel("from", { exact: true }).fill("2019-01-01T00:00");
    await page.getByText("No such runs").waitFor();
    await page.getByRole("button", { name: "Clear" }).click();
    await rows.nth(2).waitFor();
    assert.doesNotMatch(page.url(), /\?/);
  });

  test("failures are grouped by their cause, and a group is retried with one order", async () => {
    const { go, page, shot } = { ...at, page: at.page() };
    await go("/failures");
    const group = page.locator(".failure", { hasText: /no lamp \d+ left/ });
    await group.getByText("2", { exact: true }).waitFor();
    await shot("failures");
    await group.getByRole("link", { name: "Its runs" }).click();
    await page.getByText(/^failure group/).waitFor();
    await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 2);
    await page.goBack();
    await group.getByRole("button", { name: "Retry all of the group" }).click();
    await dialog().getByText("2 runs", { exact: true }).waitFor();
    await shot("bulk");
    await dialog().getByRole("button", { name: "Retry 2 runs" }).click();
    await dialog().getByText("2 runs retried").waitFor();
    await shot("bulk-done");
    await dialog().getByRole("button", { name: "Close", exact: true }).click();
    await page.getByRole("tab", { name: "Bulk orders" }).click();
    await page.locator("tr", { hasText: "of the failure group" }).locator('[data-state="done"]').waitFor();
    await shot("orders");
  });

  test("all runs that a filter finds are cancelled, once it is said how many", async () => {
    const { go, page, platform } = { ...at, page: at.page(), platform: at.platform() };
    const gate = join(platform.dir, "many");
    const ids = await Promise.all([1, 2, 3].map(() => platform.run("slow", { gate })));
    await go(`/runs?input=gate%3D${encodeURIComponent(gate)}`);
    await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 3);
    await page.getByRole("button", { name: "For all of these" }).click();
    await page.getByRole("menuitem", { name: /Cancel those under way/ }).click();
    await dialog().getByText(`with the input gate=${gate}`).waitFor();
    await dialog().getByRole("button", { name: "Leave them" }).click();
    assert.equal((await platform.api("GET", `/runner/v1/projects/default/runs/${ids[0]}`)).state, "running");
    await page.getByRole("button", { name: "For all of these" }).click();
    await page.getByRole("menuitem", { name: /Cancel those under way/ }).click();
    await dialog().getByRole("button", { name: "Cancel 3 runs" }).click();
    await dialog().getByText("3 runs cancelled").waitFor();
    await dialog().getByRole("button", { name: "Close", exact: true }).click();
    await page.locator('tbody [data-state="cancelled"]').nth(2).waitFor();
    await page.getByRole("button", { name: "For all of these" }).click();
    await page.getByRole("menuitem", { name: /Cancel those under way/ }).click();
    await dialog().getByText("0 runs", { exact: true }).waitFor();
    await page.keyboard.press("Escape");
  });

  test("a run is run again with edited inputs", async () => {
    const { go, page, platform, shot, state } = { ...at, page: at.page(), platform: at.platform() };
    const id = await platform.run("order", { item: "lamp", count: 2, price: 1.5, extra: { wrap: true } });
    await go(`/runs/${id}`);
    await state("completed").waitFor();
    await page.getByRole("button", { name: "Run again" }).click();
    assert.match(page.url(), /again=true/);
    const form = dialog();
    await form.getByLabel("Item").waitFor();
    assert.equal(await form.getByLabel("Item").inputValue(), "lamp");
    await form.getByLabel("count").fill("");
    await form.getByRole("button", { name: "Run again" }).click();
    await form.getByText("fill this in").waitFor();
    await form.getByLabel("count").fill("5");
    await shot("run-again");
    await form.getByRole("button", { name: "Run again" }).click();
    await page.getByText(/· repeats/).waitFor();
    await state("completed").waitFor();
    await page.getByText('"count": "5"').first().waitFor();
    await page.getByText('"item": "lamp"').first().waitFor();
    assert.ok(!page.url().includes(id) && !page.url().includes("again"));
  });

  test("what a run and its steps cost is told, summed by workflow and day", async () => {
    const { go, page, platform, shot } = { ...at, page: at.page(), platform: at.platform() };
    const id = await platform.run("order", { item: "lamp", count: 2, price: 1.5 });
    await ended(id);
    await go(`/runs/${id}?step=take`);
    const cost = /^(< )?[\d.]+ CPU s · (< )?[\d.]+ GiB s$/;
    assert.match(await page.locator("[data-cost]").first().textContent(), cost);
    assert.match(await page.locator('[data-cost="take"]').textContent(), cost);
    await go("/cost");
    await page.locator("tr", { hasText: "order" }).waitFor();
    await shot("cost");
    await go("/cost?workflow=order");
    await page.getByRole("radiogroup").getByText("Runs", { exact: true }).click();
    await page.waitForURL(/of=runs/);
    const today = page.locator(`[data-day="${new Date().toISOString().slice(0, 10)}"]`);
    await today.hover();
    await page
      .getByRole("tooltip")
      .getByText(/^order: \d+$/)
      .waitFor();
    await shot("cost");
    await go("/workflows/order");
    await page.getByRole("link", { name: "last 30 days" }).click();
    await page.getByRole("heading", { name: "Cost" }).waitFor();
    assert.match(page.url(), /workflow=order/);
  });

  test("schedules tell when they are due, and a range is backfilled", async () => {
    const { go, page, platform, shot } = { ...at, page: at.page(), platform: at.platform() };
    await platform.live("report");
    await go("/schedules");
    const row = page.locator('[data-schedule="report/nightly"]');
    await row.getByText("Europe/Paris").waitFor();
    await row.getByText(/^in \d+ (h|min)/).waitFor();
    await row.getByText("skips").waitFor();
    await shot("schedules");
    await row.getByRole("button", { name: "Backfill" }).click();
    await page.waitForURL(/backfill=report/);
    await dialog().getByLabel("From").fill("2026-03-10T00:00");
    await dialog().getByLabel("To").fill("2026-03-09T00:00");
    await dialog().getByText("give a time after the first").waitFor();
    assert.ok(await dialog().getByRole("button", { name: "Start" }).isDisabled());
    await dialog().getByLabel("From").fill("1970-03-09T00:00");
    await dialog()
      .getByText(/leaves more than 10000 due times/)
      .waitFor(); // what the server says, beside its field
    await shot("backfill-wrong");
    await dialog().getByLabel("From").fill("2026-03-06T12:00");
    await dialog().getByLabel("To").fill("2026-03-09T12:00");
    await dialog().getByText("3 due times in that range").waitFor();
    await shot("backfill");
    await dialog().getByRole("button", { name: "Start 3 runs" }).click();
    await dialog().getByText("3 runs started").waitFor();
    await dialog().getByRole("button", { name: "Close", exact: true }).click();
    await go("/runs?workflow=report&trigger=cron");
    await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 3);
  });

  test("a workflow is paused with a reason, and resumed", async () => {
    const { go, page, platform, shot } = { ...at, page: at.page(), platform: at.platform() };
    await go("/workflows/report");
    await page.getByRole("button", { name: "more for report" }).click();
    await page.getByRole("menuitem", { name: "Pause…" }).click();
    await dialog().getByLabel("Reason").fill("the bank is down");
    await dialog().getByRole("button", { name: "Pause" }).click();
    const alert = page.locator("[data-paused]");
    await alert.getByText("the bank is down").waitFor();
    assert.ok(await page.getByRole("button", { name: "Start", exact: true }).isDisabled());
    await assert.rejects(platform.run("report"), /paused/);
    await shot("workflow-paused");
    await go("/schedules");
    await page.locator('[data-schedule="report/nightly"] [data-state="paused"]').waitFor();
    await go("/workflows");
    await page.locator("tr", { hasText: "report" }).locator('[data-state="paused"]').waitFor();
    await go("/workflows/report");
    await alert.getByRole("button", { name: "Resume" }).click();
    await alert.waitFor({ state: "detached" });
    await platform.run("report", { day: "after the pause" });
  });

  test("the canvas shows what each step is and what holds for it", async () => {
    const { go, page, shot } = { ...at, page: at.page() };
    await go("/workflows/report");
    const policies = page.getByLabel("policies");
    await policies.getByText("3 runs at a time per ${inputs.kind}, further ones wait").waitFor();
    await policies.getByText("100 starts in 1 min").waitFor();
    await policies.getByText("one run per ${inputs.day}/${inputs.kind}").waitFor();
    await policies.getByText("at most 2 h").waitFor();
    await policies.getByText("priority 10").waitFor();
    await policies.getByRole("link", { name: "told" }).waitFor();
    const node = (title) => page.locator(".react-flow__node", { hasText: title });
    const kinds = { nightly: "trigger", "Read the rows": "action", "Which report": "switch", summary: "workflow" };
    for (const [title, kind] of Object.entries(kinds))
      assert.equal(await node(title).locator(".node").getAttribute("data-kind"), kind);
    for (const mark of ["effect", "retry", "timeout", "cache", "priority"])
      await node("Read the rows").locator(`[data-mark="${mark}"]`).waitFor();
    await node("pages").locator('[data-mark="each"]').hover();
    await page
      .getByRole("tooltip")
      .getByText(/2 at a time; failed items are left out/)
      .waitFor();
    await node("Read the rows").click();
    await page.getByText("3 attempts; pauses of 1 s, growing ×2 up to 1 min, varied").waitFor();
    await page.getByText("keeps its outputs for 1 h per ${inputs.day}").waitFor();
    await shot("canvas");
    await node("summary").getByRole("link", { name: "open told" }).click();
    await page.getByRole("heading", { name: "told" }).waitFor();
  });

  test("the canvas of a run shows the ways that it took", async () => {
    const { go, page, platform, shot, state } = { ...at, page: at.page(), platform: at.platform() };
    const id = await platform.run("report", { day: "monday", kind: "short" });
    await go(`/runs/${id}`);
    await state("completed").waitFor();
    const node = (title) => page.locator(".react-flow__node", { hasText: title });
    await node("Which report").getByText("chose short").waitFor();
    await page.locator(".react-flow__edge.way-taken", { hasText: "short" }).waitFor({ state: "attached" });
    await page.locator(".react-flow__edge.way-left", { hasText: "long" }).waitFor({ state: "attached" });
    assert.equal(await node("pages").locator(".node").getAttribute("data-way"), "left");
    await shot("run-ways");
    await node("summary").getByRole("link", { name: "open the run of told" }).click();
    await page.getByText("called by step summary of").waitFor();
  });

  test("a step that waits for a key tells which run holds it", async () => {
    const { go, page, platform, shot, state, step } = { ...at, page: at.page(), platform: at.platform() };
    await platform.live("keyed");
    const gate = join(platform.dir, "key");
    const first = await platform.run("keyed", { customer: "customer-42", gate });
    await go(`/runs/${first}`);
    await step("call").locator('[data-state="running"]').waitFor();
    const second = await platform.run("keyed", { customer: "customer-42", gate });
    await go(`/runs/${second}?step=call`);
    const waits = page.locator('[data-waits="call"]');
    await waits.getByText(/customer-42.* is held by/).waitFor();
    await shot("run-held");
    await waits.getByRole("link", { name: `run …${first.slice(-4)}` }).click();
    await page.waitForURL(new RegExp(first));
    writeFileSync(gate, "");
    await state("completed").waitFor();
    await go(`/runs/${second}`);
    await state("completed").waitFor();
  });

  test("the pages of operators in the dark and on a narrow screen", async () => {
    const { go, page, shot } = { ...at, page: at.page() };
    const looks = async (suffix) => {
      for (const [name, path, seen] of [
        ["runs", "/runs", "tbody tr"],
        ["failures", "/failures", ".failure"],
        ["schedules", "/schedules", "[data-schedule]"],
        ["cost", "/cost", ".daychart"],
        ["workflow", "/workflows/report?step=rows", ".react-flow__node"],
      ]) {
        await go(path);
        await page.locator(seen).first().waitFor();
        await shot(`${name}-${suffix}`);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(wide <= 0, `${path} is ${wide} pixels wider than the screen`);
      }
    };
    await page.setViewportSize({ width: 420, height: 860 });
    await looks("narrow");
    await page.setViewportSize({ width: 1320, height: 860 });
    await page.emulateMedia({ colorScheme: "dark" });
    await looks("dark");
    await page.emulateMedia({ colorScheme: "light" });
  });
}
