import { sqliteTable, text } from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import { defineSync } from "../plugin/define-sync.ts";
import type { AppRow } from "./column-values.ts";
import { bindAssign } from "./assign.ts";
import { openSmallServer } from "../testing/small-server.ts";
import { newTodo, openPair } from "../testing/server-fixture.ts";

type AssignFunction = (options: { readonly row: AppRow }) => AppRow;

async function openWith(todos: AssignFunction) {
  const { server, device } = await openPair();
  const assign = bindAssign(server.database, { todos }, { ctx: {}, subject: "ann" });
  return {
    server,
    device: Object.assign(device, { caller: server.caller("ann", assign === undefined ? {} : { assign }) }),
  };
}

test("an `assign` that throws for one row refuses that transaction, and those behind it go on", async () => {
  const { server, device } = await openWith(({ row }) => {
    if (row["title"] === "Bad") throw new TypeError("not this one");
    return { createdBy: "ann" };
  });
  await using _ = server;
  const outcomes = await device.sync(
    device.tx(device.insert("todos", "n1", { ...newTodo, title: "Bad" })),
    device.tx(device.insert("todos", "n2", newTodo)),
  );
  expect(outcomes).toMatchObject([{ status: "rejected", number: 1, code: "INVALID_VALUE", operation: { index: 0 } }]);
  expect(server.errors).toMatchObject([{ message: "not this one" }]);
  expect(device.row("todos", "n1")).toBeUndefined();
  expect(device.row("todos", "n2")).toMatchObject({ createdBy: "ann" });
});

test("an `assign` that names no column or answers a promise changes nothing, for every row would be refused", async () => {
  for (const todos of [() => ({ nothing: 1 }), async () => ({ createdBy: "ann" })] as readonly AssignFunction[]) {
    const { server, device } = await openWith(todos);
    await using _ = server;
    await expect(device.push(device.tx(device.insert("todos", "n1", newTodo)))).rejects.toMatchObject({
      code: "INVALID_CONFIG",
    });
    expect((await device.ask()).kind === "page" && device.outcomes).toEqual([]);
  }
});

test("a default of the app that throws refuses that transaction, and those behind it go on", async () => {
  let made = 0;
  const things = sqliteTable("things", {
    id: text("id").primaryKey(),
    title: text("title"),
    code: text("code").$defaultFn(() => {
      if (made++ === 0) throw new Error("none left");
      return `c${made}`;
    }),
  });
  await using server = await openSmallServer({
    schema: { things },
    sync: defineSync({ things }, { things: { scope: "everyone" } }),
    sql: ["CREATE TABLE things (id TEXT PRIMARY KEY NOT NULL, title TEXT, code TEXT)"],
  });
  const { device } = server;
  const insert = (id: string) => ({
    ...device.insert("things", id, { title: "T" }),
    shape: { table: "things", kind: "insert" as const, columns: ["title"] },
    values: ["T"],
  });
  const outcomes = await device.sync(device.tx(insert("a")), device.tx(insert("b")));
  // What it threw is the server's own business.
  expect(outcomes).toMatchObject([
    { number: 1, code: "INVALID_VALUE", message: "The server could not complete a new row of table `things`." },
  ]);
  expect(server.errors).toMatchObject([{ message: "none left" }]);
  expect(server.all("SELECT id, code FROM things")).toEqual([["b", "c2"]]);
});
