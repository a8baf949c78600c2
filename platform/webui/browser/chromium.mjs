// Starts the machine's Chromium for the tests of the page.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const places = [
  process.env.PELTON_CHROMIUM,
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

export async function browser() {
  const executablePath = places.find((p) => p && existsSync(p));
  if (!executablePath)
    throw new Error("no Chromium on this machine: Debian: apt install chromium, or set PELTON_CHROMIUM to its path");
  const data = mkdtempSync(join(tmpdir(), "pelton-browser-"));
  const context = await chromium.launchPersistentContext(data, {
    executablePath,
    headless: true,
    viewport: { width: 1320, height: 860 },
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  return {
    context,
    close: async () => {
      await context.close();
      rmSync(data, { recursive: true, force: true });
    },
  };
}
