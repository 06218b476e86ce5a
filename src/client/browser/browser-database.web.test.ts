import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Page } from "playwright-core";
import { isBrowserMissing, launchChromium, type TestBrowser } from "../../testing/browser/chromium.ts";
import { serveWebSite, type WebSite } from "../../testing/browser/web-site.ts";

const add = (page: Page | undefined, id: string): Promise<unknown> =>
  (page as Page).evaluate(
    (todo) => window.t.db.insert(window.t.todos).values({ id: todo, listId: "l", title: `Todo ${todo}` }),
    id,
  );
const ids = (page: Page | undefined): Promise<string[]> =>
  (page as Page).evaluate(async () =>
    (await window.t.db.select({ id: window.t.todos.id }).from(window.t.todos).orderBy(window.t.todos.id)).map(
      ({ id }) => id,
    ),
  );

/** Two flows, each of which reads, then writes one more, ten times. */
const count = (page: Page | undefined): Promise<void> | undefined =>
  page?.evaluate(async () => {
    const { db, todos, eq } = window.t;
    const flow = async (): Promise<void> => {
      for (let turn = 0; turn < 10; turn++) {
        await db.transaction(async (tx) => {
          const row = await tx.select().from(todos).where(eq(todos.id, "n")).get();
          await tx.transaction(async (inner) => {
            await inner
              .update(todos)
              .set({ rank: (row?.rank ?? 0) + 1 })
              .where(eq(todos.id, "n"));
          });
        });
      }
    };
    await Promise.all([flow(), flow()]);
  });

describe.skipIf(isBrowserMissing())("a database in the browser", () => {
  let site: WebSite;
  let browser: TestBrowser;
  let names = 0;

  beforeAll(async () => {
    site = await serveWebSite();
    browser = await launchChromium();
  }, 60_000);
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]();
    await site?.[Symbol.asyncDispose]();
  });

  /** Opens tabs over one new database. */
  async function openTabs<const TCount extends number>(count: TCount, query = ""): Promise<Page[]> {
    const name = `db${++names}`;
    const pages: Page[] = [];
    for (let index = 0; index < count; index++) {
      pages.push(await browser.open(`${site.url}?name=${name}${query}`));
      await pages[index]?.evaluate(() =>
        window.t.db.insert(window.t.lists).values({ id: "l", title: "List" }).onConflictDoNothing(),
      );
    }
    return pages;
  }

  test("rows are there again after a reload and after the browser was restarted", async () => {
    const [page] = await openTabs(1);
    await add(page, "1");
    await page?.reload();
    await page?.waitForFunction("'t' in window");
    expect(await ids(page)).toEqual(["1"]);
    const url = page?.url() ?? "";
    await browser.restart();
    const again = await browser.open(url);
    expect(await ids(again)).toEqual(["1"]);
    await again.close();
  });

  test("two tabs see each other's writes, and one of them leads", async () => {
    const [a, b] = await openTabs(2);
    await add(a, "a");
    await add(b, "b");
    expect(await ids(a)).toEqual(["a", "b"]);
    expect(await ids(b)).toEqual(["a", "b"]);
    expect(await a?.evaluate(() => window.t.db.$client.leads)).toBe(true);
    expect(await b?.evaluate(() => window.t.db.$client.leads)).toBe(false);
    await b?.close();
    await a?.close();
  });

  test("relational queries, `get` without a row and values of all kinds work as in any Drizzle database", async () => {
    const [page] = await openTabs(1);
    await add(page, "1");
    const result = await page?.evaluate(async () => {
      const { db, todos, lists, eq, sql } = window.t;
      return {
        relational: await db.query.lists.findMany({ with: { todos: { columns: { title: true, done: true } } } }),
        none: (await db.query.lists.findFirst({ where: eq(lists.id, "none") })) === undefined,
        noRow: (await db.select().from(todos).where(eq(todos.id, "none")).get()) === undefined,
        returned: await db.update(todos).set({ done: true }).where(eq(todos.id, "1")).returning(),
        raw: await db.all(sql`select 1 as one, null as none`),
        bytes: Array.from(((await db.values(sql`select x'0102'`)) as unknown as [Uint8Array][])[0]?.[0] ?? []),
        wal: await db.get(sql`pragma journal_mode`),
      };
    });
    expect(result).toEqual({
      relational: [{ id: "l", title: "List", todos: [{ title: "Todo 1", done: false }] }],
      none: true,
      noRow: true,
      returned: [{ id: "1", listId: "l", title: "Todo 1", done: true, rank: 0 }],
      raw: [[1, null]],
      bytes: [1, 2],
      wal: ["wal"],
    });
    await page?.close();
  });

  test("errors of SQLite reach the page with their code, and nothing is committed", async () => {
    const [, page] = await openTabs(2);
    await add(page, "1");
    const errors = await page?.evaluate(async () => {
      const { db, todos, sql, codeOf } = window.t;
      return [
        await codeOf(db.insert(todos).values({ id: "1", listId: "l", title: "again" })),
        await codeOf(db.insert(todos).values({ id: "2", listId: "none", title: "no list" })),
        await codeOf(
          db.batch([
            db.insert(todos).values({ id: "3", listId: "l", title: "" }),
            db.run(sql`insert into nowhere values (1)`),
          ]),
        ),
      ];
    });
    expect(errors).toEqual(["SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_FOREIGNKEY", "SQLITE_ERROR"]);
    expect(await ids(page)).toEqual(["1"]);
    for (const open of browser.context.pages().slice(1)) await open.close();
  });

  test("transactions of two flows in two tabs are isolated: no read-modify-write is lost", async () => {
    const [a, b] = await openTabs(2);
    await add(a, "n");
    await Promise.all([count(a), count(b)]);
    expect(await b?.evaluate(async () => (await window.t.db.select().from(window.t.todos))[0]?.rank)).toBe(40);
    await Promise.all([a?.close(), b?.close()]);
  });

  test("a write beside an open transaction waits for it, and outlives its rollback", async () => {
    const [page] = await openTabs(1);
    const order = await page?.evaluate(async () => {
      const { db, todos } = window.t;
      const seen: string[] = [];
      let started: (() => void) | undefined;
      const isOpen = new Promise<void>((resolve) => (started = resolve));
      const failing = db
        .transaction(async (tx) => {
          await tx.insert(todos).values({ id: "inside", listId: "l", title: "" });
          started?.();
          await new Promise((resolve) => setTimeout(resolve, 50));
          seen.push("rolling back");
          throw new Error("no");
        })
        .catch(() => {});
      await isOpen;
      await db.insert(todos).values({ id: "outside", listId: "l", title: "" });
      seen.push("written");
      await failing;
      return seen;
    });
    expect(order).toEqual(["rolling back", "written"]);
    expect(await ids(page)).toEqual(["outside"]);
    await page?.close();
  });

  test("`db` used inside a transaction ends in an error that says what to do", async () => {
    const [page] = await openTabs(1);
    const message = await page?.evaluate(async () => {
      const { db, todos } = window.t;
      try {
        await db.transaction(async (tx) => {
          await tx.insert(todos).values({ id: "1", listId: "l", title: "" });
          await db.insert(todos).values({ id: "2", listId: "l", title: "" });
        });
        return "committed";
      } catch (error) {
        return (error as Error).message;
      }
    });
    expect(message).toContain("use `tx`");
    await page?.close();
  });

  test("the leading tab is closed in the middle of writes: each acknowledged row is there, once", async () => {
    const [a, b] = await openTabs(2);
    const writes = b?.evaluate(async () => {
      const { db, todos } = window.t;
      const acknowledged: string[] = [];
      const write = async (id: string): Promise<void> => {
        if (Number(id) % 3 === 0) {
          await db.transaction(async (tx) => {
            await tx.insert(todos).values({ id, listId: "l", title: "" });
            await tx.insert(todos).values({ id: `${id}b`, listId: "l", title: "" });
          });
          acknowledged.push(`${id}b`);
        } else await db.insert(todos).values({ id, listId: "l", title: "" });
        acknowledged.push(id);
      };
      const all: Promise<void>[] = [];
      for (let n = 0; n < 300; n++) {
        all.push(write(String(n)));
        if (n % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      }
      await Promise.all(all);
      return acknowledged;
    });
    await new Promise((resolve) => setTimeout(resolve, 100));
    await a?.close();
    const acknowledged = await writes;
    expect(acknowledged).toHaveLength(400);
    expect(await ids(b)).toHaveLength(400);
    expect(new Set(await ids(b))).toEqual(new Set(acknowledged));
    expect(await b?.evaluate(() => window.t.db.$client.leads)).toBe(true);
    expect(await b?.evaluate(() => window.t.db.get(window.t.sql`pragma integrity_check`))).toEqual(["ok"]);
    await b?.close();
  });

  test("a hidden leader gives way to a visible tab, and nothing is lost meanwhile", async () => {
    const [a, b] = await openTabs(2);
    const writes = b?.evaluate(async () => {
      for (let n = 0; n < 100; n++)
        await window.t.db.insert(window.t.todos).values({ id: String(n), listId: "l", title: "" });
    });
    await a?.evaluate(() => {
      Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await writes;
    await b?.waitForFunction(() => window.t.db.$client.leads);
    expect((await ids(a)).length).toBe(100);
    expect(await a?.evaluate(() => window.t.db.$client.leads)).toBe(false);
    await Promise.all([a?.close(), b?.close()]);
  });

  test("live queries follow writes of every tab, and go on under a new leader", async () => {
    const [a, b] = await openTabs(2);
    await b?.evaluate(() => {
      const { db, todos, watch } = window.t;
      Object.assign(window, { live: watch(db.select({ id: todos.id }).from(todos).orderBy(todos.id)) });
    });
    const shown = (expected: readonly string[]): Promise<unknown> | undefined =>
      b?.waitForFunction((wanted) => {
        const { live } = window as unknown as { live: { shown: { id: string }[][] } };
        return JSON.stringify(live.shown.at(-1)?.map(({ id }) => id)) === JSON.stringify(wanted);
      }, expected);
    await shown([]);
    await add(a, "1");
    await shown(["1"]);
    await add(b, "2");
    await shown(["1", "2"]);
    await a?.close();
    await add(b, "3");
    await shown(["1", "2", "3"]);
    const { count } = (await b?.evaluate(() => ({
      count: (window as unknown as { live: { shown: unknown[] } }).live.shown.length,
    }))) ?? { count: 0 };
    // One more only for the first answer of the new leader.
    expect(count).toBeLessThanOrEqual(5);
    await b?.close();
  });

  test("a tab of a newer release takes over from an older one, whose tables it could not use", async () => {
    const name = `db${++names}`;
    const old = await browser.open(`${site.url}?name=${name}&migrations=1`);
    const before = (): Promise<unknown> => old.evaluate(() => window.t.db.get(window.t.sql`select title from lists`));
    await old.evaluate(() => window.t.db.run(window.t.sql`insert into lists values ('l', 'List')`));
    const next = await browser.open(`${site.url}?name=${name}`);
    await add(next, "1");
    expect(await next.evaluate(async () => (await window.t.db.select().from(window.t.todos))[0]?.rank)).toBe(0);
    expect(await next.evaluate(() => window.t.db.$client.leads)).toBe(true);
    expect(await before()).toEqual(["List"]);
    expect(await old.evaluate(() => window.t.db.$client.leads)).toBe(false);
    await Promise.all([old.close(), next.close()]);
  });

  test("a damaged file ends in a `SyncError`, and is left as it is", async () => {
    const [page] = await openTabs(1);
    await add(page, "1");
    const url = page?.url() ?? "";
    const name = new URL(url).searchParams.get("name") ?? "";
    await page?.close();
    const other = await browser.open(`${site.url}?name=other`);
    const damaged = await other.evaluate(async (folder) => {
      let count = 0;
      const root = await navigator.storage.getDirectory();
      const files = await (
        await (await root.getDirectoryHandle(".drizzle-sync")).getDirectoryHandle(folder)
      ).getDirectoryHandle(".opaque");
      for await (const file of (files as unknown as { values(): AsyncIterable<FileSystemFileHandle> }).values()) {
        const { size } = await file.getFile();
        // The pool keeps its own header in the first 4 KiB.
        if (size <= 4096) continue;
        const writable = await file.createWritable({ keepExistingData: true });
        await writable.write({ type: "write", position: 4096, data: new Uint8Array(size - 4096).fill(0x55) });
        await writable.close();
        count++;
      }
      return count;
    }, name);
    expect(damaged).toBeGreaterThan(0);
    const again = await browser.open(url);
    const failure = await again.evaluate(async () => {
      const { db, todos, client } = window.t;
      const told: string[] = [];
      db.$client.onOpenFailed((error) => told.push((error as unknown as { code: string }).code));
      client.subscribe(() => {});
      const code = await window.t.codeOf(db.select().from(todos));
      return { code, told: told[0], status: client.state.status };
    });
    expect(failure).toEqual({ code: "STORAGE_FAILED", told: "STORAGE_FAILED", status: "error" });
    await Promise.all([again.close(), other.close()]);
  });

  test("a new release's migrations run before anything else, and keep the rows", async () => {
    const [page] = await openTabs(1, "&migrations=2");
    await page?.close();
    const name = `db${++names}`;
    const old = await browser.open(`${site.url}?name=${name}&migrations=1`);
    await old.evaluate(async () => {
      const { db, sql } = window.t;
      await db.run(sql`insert into lists values ('l', 'List')`);
      await db.run(sql`insert into todos (id, list_id, title) values ('1', 'l', 'Old')`);
    });
    await old.close();
    const next = await browser.open(`${site.url}?name=${name}`);
    expect(await next.evaluate(() => window.t.db.select().from(window.t.todos))).toEqual([
      { id: "1", listId: "l", title: "Old", done: false, rank: 0 },
    ]);
    expect(
      await next.evaluate(() =>
        window.t.db.values(window.t.sql`select hash from __drizzle_migrations order by created_at`),
      ),
    ).toEqual([["first"], ["second"]]);
    await next.close();
  });
});
