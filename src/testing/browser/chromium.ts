/**
 * A real Chromium for tests: found, started with a profile of its own, closed and cleaned up.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { chromium, type BrowserContext, type Page } from "playwright-core";

/** Where Chromium is, or undefined. */
export function findChromium(): string | undefined {
  const candidates = [
    process.env["CHROMIUM"],
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
  ];
  return candidates.find((file) => file !== undefined && existsSync(file));
}

/**
 * Whether tests in a browser are left out, with a message that says so. On CI a missing browser is a failure: they are
 * not left out, and starting it fails.
 */
export function isBrowserMissing(): boolean {
  if (findChromium() !== undefined || process.env["CI"]) return false;
  process.stderr.write(
    "No Chromium found: tests in the browser are skipped. Install Debian's `chromium`, or set CHROMIUM to its path.\n",
  );
  return true;
}

/** A browser with a profile: one device. */
export interface TestBrowser extends AsyncDisposable {
  readonly context: BrowserContext;
  open(url: string): Promise<Page>;
  /** Ends the browser and starts it again with the same profile. */
  restart(): Promise<void>;
}

/** Starts Chromium. */
export async function launchChromium(): Promise<TestBrowser> {
  const profile = await mkdtemp(path.join(tmpdir(), "drizzle-sync-profile-"));
  let context = await start(profile);
  return {
    get context() {
      return context;
    },
    open: async (url) => {
      const page = await context.newPage();
      page.on("pageerror", (error) => process.stderr.write(`[page error] ${String(error)}\n`));
      page.on("console", (message) => {
        if (message.type() === "error") process.stderr.write(`[page console] ${message.text()}\n`);
      });
      await page.goto(url);
      await page.waitForFunction("'t' in window");
      return page;
    },
    restart: async () => {
      await context.close();
      context = await start(profile);
    },
    [Symbol.asyncDispose]: async () => {
      await context.close();
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

function start(profile: string): Promise<BrowserContext> {
  const executablePath = findChromium();
  return chromium.launchPersistentContext(profile, {
    ...(executablePath === undefined ? {} : { executablePath }),
    headless: true,
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
}
