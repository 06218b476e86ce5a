import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { isBrowserMissing, launchChromium, type TestBrowser } from "../../testing/browser/chromium.ts";
import { createWebApp, type WebApp } from "../../testing/browser/web-app.ts";
import { lists, todos } from "../../testing/browser/web-schema.ts";
import { serveWebSite, type WebSite } from "../../testing/browser/web-site.ts";

const start = (page: Page): Promise<void> => page.evaluate(() => window.t.client.start());
async function titles(page: Page): Promise<Set<string>> {
  const rows = await page.evaluate(() => window.t.db.select().from(window.t.todos));
  return new Set(rows.map(({ title }) => title));
}
const add = (page: Page, id: string): Promise<unknown> =>
  page.evaluate((todo) => window.t.db.insert(window.t.todos).values({ id: todo, listId: "l", title: todo }), id);
const shows = (page: Page, expected: readonly string[]): Promise<void> =>
  expect.poll(() => titles(page), { timeout: 10_000 }).toEqual(new Set(expected));
const status = (page: Page): Promise<string> => page.evaluate(() => window.t.client.state.status);
const pending = (page: Page): Promise<number> => page.evaluate(() => window.t.client.state.pending);

describe.skipIf(isBrowserMissing())("sync in the browser", () => {
  let site: WebSite;
  let app: WebApp;
  let browser: TestBrowser;
  let names = 0;

  beforeAll(async () => {
    site = await serveWebSite({ api: (request, response) => app.listener(request, response) });
    browser = await launchChromium();
  }, 60_000);
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]();
    await site?.[Symbol.asyncDispose]();
  });
  beforeEach(() => {
    app = createWebApp();
    app.db.insert(lists).values({ id: "l", title: "List" }).run();
    app.db.insert(todos).values({ id: "s1", listId: "l", title: "From the server" }).run();
  });
  afterEach(async () => {
    await browser.context.setOffline(false);
    for (const page of browser.context.pages().slice(1)) await page.close();
    app[Symbol.dispose]();
  });

  /** Opens a device of its own (another database), or another tab of one. */
  const open = (name = `sync${++names}`, user = "ann"): Promise<Page> =>
    browser.open(`${site.url}?name=${name}${user ? `&user=${user}` : ""}`);
  test("a first sync brings the server's rows, a local write reaches the server, and a server's write the page", async () => {
    const page = await open();
    await start(page);
    await shows(page, ["From the server"]);
    await add(page, "local");
    await expect.poll(() => app.db.select().from(todos).all().length, { timeout: 10_000 }).toBe(2);
    app.db.insert(todos).values({ id: "s2", listId: "l", title: "Later" }).run();
    await shows(page, ["From the server", "local", "Later"]);
    await expect.poll(() => pending(page)).toBe(0);
    await expect.poll(() => status(page)).toBe("synced");
    // The worker asked the page for its token.
    expect([...app.tokens][0]).toMatch(/^ann\d/);
  });

  test("every tab sees the state, writes, queues and awaits", async () => {
    const leader = await open("tabs");
    const other = await open("tabs");
    await start(leader);
    await start(other);
    await expect.poll(() => status(other)).toBe("synced");
    await expect.poll(() => status(leader)).toBe("synced");
    await other.evaluate(async () => {
      const { db, client, todos: table } = window.t;
      await db.insert(table).values({ id: "other", listId: "l", title: "other" });
      await client.sync();
    });
    expect(
      app.db
        .select()
        .from(todos)
        .all()
        .map(({ id }) => id),
    ).toContain("other");
    await shows(leader, ["From the server", "other"]);
    const cursor = app.db.$sync.cursor();
    await other.evaluate((wanted) => window.t.client.reached(wanted), cursor);
  });

  test("what was written while paused waits in the queue, survives a reload, and is sent afterwards", async () => {
    const page = await open("queue");
    await start(page);
    await shows(page, ["From the server"]);
    await page.evaluate(() => window.t.client.pause());
    await expect.poll(() => status(page)).toBe("paused");
    await add(page, "queued");
    await expect.poll(() => pending(page)).toBe(1);
    const queue = await page.evaluate(() => window.t.client.pending.list());
    expect(queue).toMatchObject([
      { operations: [{ table: "todos", kind: "insert", key: { id: "queued" }, values: { done: false } }] },
    ]);
    await page.reload();
    await page.waitForFunction("'t' in window");
    await shows(page, ["From the server", "queued"]);
    expect(app.db.select().from(todos).all()).toHaveLength(1);
    await start(page);
    await expect.poll(() => app.db.select().from(todos).all().length, { timeout: 10_000 }).toBe(2);
    await expect.poll(() => pending(page)).toBe(0);
  });

  test("the leading tab is closed while offline: the other goes on with the queue", async () => {
    const leader = await open("takeover");
    await start(leader);
    await shows(leader, ["From the server"]);
    // A standby loads SQLite after a second, without opening the file.
    const loaded = browser.context.waitForEvent("response", (response) => response.url().endsWith("sqlite3.wasm"));
    const other = await open("takeover");
    await start(other);
    await (await loaded).finished();
    await shows(other, ["From the server"]);
    await browser.context.setOffline(true);
    await add(leader, "a");
    await add(other, "b");
    await leader.close();
    await shows(other, ["From the server", "a", "b"]);
    await browser.context.setOffline(false);
    await expect.poll(() => app.db.select().from(todos).all().length, { timeout: 20_000 }).toBe(3);
    await expect.poll(() => status(other), { timeout: 10_000 }).toBe("synced");
    await expect.poll(() => pending(other)).toBe(0);
  });

  test("a refused write comes back as an outcome with both versions, in every tab, until it is settled", async () => {
    const page = await open("outcome");
    await start(page);
    await shows(page, ["From the server"]);
    await page.evaluate(() => {
      Object.assign(window, { told: [] });
      window.t.client.outcomes.subscribe((outcome) => (window as unknown as { told: unknown[] }).told.push(outcome));
      window.t.client.pause();
    });
    await page.evaluate(() =>
      window.t.db.update(window.t.todos).set({ title: "mine" }).where(window.t.eq(window.t.todos.id, "s1")),
    );
    app.db.update(todos).set({ title: "theirs" }).run();
    await page.evaluate(() => window.t.client.resume());
    await shows(page, ["theirs"]);
    const outcomes = await page.evaluate(() => window.t.client.outcomes.list());
    expect(outcomes).toMatchObject([
      {
        status: "merged",
        conflicts: [{ table: "todos", winner: "server", client: { title: "mine" }, server: { title: "theirs" } }],
      },
    ]);
    await expect.poll(() => page.evaluate(() => (window as unknown as { told: unknown[] }).told)).toEqual(outcomes);
    await page.evaluate((id) => window.t.client.outcomes.resolve(id, "discard"), outcomes[0]?.id ?? "");
    expect(await page.evaluate(() => window.t.client.outcomes.list())).toEqual([]);
  });

  test("without a token the state says so, and `resume` tries again", async () => {
    const page = await open("anonymous", "");
    await start(page);
    await expect.poll(() => status(page)).toBe("signed-out");
    await add(page, "kept").catch(() => {});
    app.isLocked = true;
    const other = await open("locked");
    await start(other);
    await expect.poll(() => status(other)).toBe("signed-out");
    app.isLocked = false;
    await other.evaluate(() => window.t.client.resume());
    await shows(other, ["From the server"]);
  });

  test("a device that is signed out and wiped holds nothing", async () => {
    const page = await open("wipe");
    await start(page);
    await shows(page, ["From the server"]);
    await add(page, "mine");
    await page.evaluate(() => window.t.client.signOut({ pending: "flush", wipe: true }));
    expect(await titles(page)).toEqual(new Set());
    expect(app.db.select().from(todos).all()).toHaveLength(2);
    expect(await status(page)).toBe("signed-out");
  });

  test("errors reach the page as `SyncError`s with their code", async () => {
    const page = await open("errors");
    const code = await page.evaluate(async () => {
      const { client } = window.t;
      client.pause();
      try {
        await client.sync();
        return "no error";
      } catch (error) {
        return (error as { code?: string }).code;
      }
    });
    expect(code).toBe("ABORTED");
  });
});
