import { count, eq, sql } from "drizzle-orm";
import type { BetterSQLite3Database } from "drizzle-orm/better-sqlite3";
import { expect, expectTypeOf, test } from "vitest";
import { lists, sync, todos, type schema } from "../../testing/browser/web-schema.ts";
import { openBrowserDatabase } from "../browser/open-browser-database.ts";
import { useLiveQuery } from "./use-live-query.ts";

declare const worker: () => Worker;
declare const local: BetterSQLite3Database<typeof schema>;
const browser = openBrowserDatabase({ name: "types", sync, worker: () => worker() });

/** Never called: hooks need a component. */
function types(): void {
  expectTypeOf(useLiveQuery(browser.select().from(todos)).data).toEqualTypeOf<
    (typeof todos.$inferSelect)[] | undefined
  >();
  const joined = useLiveQuery(
    browser
      .select({ title: todos.title, list: lists.title, n: count() })
      .from(todos)
      .leftJoin(lists, eq(lists.id, todos.listId)),
  );
  expectTypeOf(joined.data).toEqualTypeOf<{ title: string; list: string | null; n: number }[] | undefined>();
  const relational = useLiveQuery(browser.query.todos.findFirst({ with: { list: true } }));
  expectTypeOf(relational.data?.list.title).toEqualTypeOf<string | undefined>();
  expectTypeOf(useLiveQuery(local.select().from(lists)).data).toEqualTypeOf<
    (typeof lists.$inferSelect)[] | undefined
  >();
  useLiveQuery(false);
  useLiveQuery(null);
  const ready = useLiveQuery(local.select().from(lists));
  if (ready.status === "ready") expectTypeOf(ready.data).toEqualTypeOf<(typeof lists.$inferSelect)[]>();
  // @ts-expect-error rows of another table as the initial value
  useLiveQuery(browser.select().from(todos), { initial: [{ nope: 1 }] });
  // @ts-expect-error raw SQL cannot be printed, so it has no identity
  useLiveQuery(browser.all<{ n: number }>(sql`select 1 n`));
  // @ts-expect-error a table that is not in the definition
  void browser.query.nothing;
}

test("a live query has the row types that Drizzle infers, and takes nothing else", () => {
  expect(types).toBeTypeOf("function");
});
