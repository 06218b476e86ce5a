import type { Page } from "playwright-core";
import { describe, expect, test } from "vitest";
import { isBrowserMissing, launchChromium } from "../../testing/browser/chromium.ts";
import { createWebApp } from "../../testing/browser/web-app.ts";
import { lists, todos } from "../../testing/browser/web-schema.ts";
import { serveWebSite } from "../../testing/browser/web-site.ts";

/** `TABS_MS=60000 npx vitest run many-tabs` for a longer one by hand. */
const durationMs = Number(process.env["TABS_MS"] ?? 6000);

function setVisibility(page: Page, state: "hidden" | "visible"): Promise<void> {
  return page.evaluate((value) => {
    Object.defineProperty(document, "visibilityState", { value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, state);
}

describe.skipIf(isBrowserMissing())("many tabs", () => {
  test(
    "while tabs write, are reloaded, closed, opened, hidden and crash, each acknowledged write is there once, whole, and reaches the server",
    { timeout: durationMs + 240_000 },
    async () => {
      using app = createWebApp();
      app.db.insert(lists).values({ id: "l", title: "List" }).run();
      await using site = await serveWebSite({ api: app.listener });
      await using browser = await launchChromium();
      const acknowledged: string[] = [];
      const refused: string[] = [];
      await browser.context.exposeFunction("acknowledged", (id: string) => acknowledged.push(id));
      await browser.context.exposeFunction("refused", (message: string) => refused.push(message));
      const url = `${site.url}?name=many&user=ann`;
      const quiet = await browser.open(url);
      await quiet.evaluate(() => window.t.client.sync());
      await quiet.close();

      const tabs = new Set<Page>();
      const open = async (): Promise<void> => {
        const page = await browser.context.newPage();
        tabs.add(page);
        page.on("close", () => tabs.delete(page));
        await page.goto(`${url}&writes`);
      };
      const change = async (page: Page): Promise<unknown> => {
        const dice = Math.random();
        if (dice < 0.3) return page.reload({ waitUntil: "commit" });
        if (dice < 0.55 && tabs.size > 2) return page.close();
        if (dice < 0.75 && tabs.size < 5) return open();
        if (dice < 0.9) return setVisibility(page, dice < 0.82 ? "hidden" : "visible");
        const session = await browser.context.newCDPSession(page);
        // The answer never comes.
        session.send("Page.crash").catch(() => {});
        await new Promise((resolve) => page.once("crash", resolve));
        return page.close();
      };
      await Promise.all([open(), open(), open()]);
      await expect.poll(() => acknowledged.length, { timeout: 60_000 }).toBeGreaterThan(0);
      const end = Date.now() + durationMs;
      const changes = new Set<Promise<void>>();
      // A machine that is slow has fewer changes, and takes longer to write as much between them.
      while (Date.now() < end || (acknowledged.length <= 50 && Date.now() < end + 60_000)) {
        await new Promise((resolve) => setTimeout(resolve, 200 + Math.random() * 400));
        if (changes.size >= 4) continue;
        const page = [...tabs][Math.floor(Math.random() * tabs.size)];
        // Two changes of one tab may collide; what counts is what is in the database.
        const done = (page ? change(page) : open()).then(
          () => {},
          () => {},
        );
        changes.add(done);
        void done.then(() => changes.delete(done));
      }
      await Promise.race([Promise.all(changes), new Promise((resolve) => setTimeout(resolve, 15_000))]);
      await Promise.all(
        browser.context
          .pages()
          .slice(1)
          .map((page) => page.close()),
      );

      const last = await browser.open(url);
      await last.evaluate(() => window.t.client.sync());
      const rows = await last.evaluate(() =>
        window.t.db.select({ id: window.t.todos.id, done: window.t.todos.done }).from(window.t.todos),
      );
      const ids = new Set(rows.map(({ id }) => id));
      expect(refused).toEqual([]);
      expect(acknowledged.length).toBeGreaterThan(50);
      expect(new Set(acknowledged).size).toBe(acknowledged.length);
      expect(acknowledged.filter((id) => !ids.has(id))).toEqual([]);
      expect(rows.filter(({ done }) => !done)).toEqual([]);
      expect(await last.evaluate(() => window.t.db.get(window.t.sql`pragma integrity_check`))).toEqual(["ok"]);
      expect(await last.evaluate(() => window.t.client.state.pending)).toBe(0);
      expect(
        new Set(
          app.db
            .select()
            .from(todos)
            .all()
            .map(({ id }) => id),
        ),
      ).toEqual(ids);
    },
  );
});
