import { sqliteTable, text } from "drizzle-orm/sqlite-core";
import { describe, expect, test } from "vitest";
import { defineSync } from "../plugin/define-sync.ts";
import {
  newTodo as todo,
  openPair,
  type ServerFixtureOptions,
  someRows,
  type todos,
} from "../testing/server-fixture.ts";
import { openSmallServer } from "../testing/small-server.ts";

type Todo = typeof todos.$inferSelect;
const all = ["list:a", "list:b", "everyone"];
const open = (options: ServerFixtureOptions = {}): ReturnType<typeof openPair> =>
  openPair(options, { read: all, write: all });

describe("deletes that were left to a cascade", () => {
  test("P7: each that the database brings elsewhere before is reported as a conflict", async () => {
    const rescue = `CREATE TRIGGER rescue BEFORE DELETE ON todos BEGIN UPDATE comments SET todo_id = 't2' WHERE todo_id = OLD.id; END`;
    const { server, device } = await open({ sql: [...someRows, rescue] });
    await using _ = server;
    const deleteOf = (table: string, id: string) => device.delete(table, id, device.row(table, id) ?? {});
    const outcomes = await device.sync(
      device.tx(deleteOf("replies", "r1"), deleteOf("comments", "c1"), deleteOf("todos", "t1")),
    );
    const kept = { kind: "delete", columns: [], winner: "server", client: null };
    expect(outcomes).toMatchObject([
      {
        status: "merged",
        conflicts: [
          { ...kept, table: "replies", key: ["r1"], server: { commentId: "c1" } },
          { ...kept, table: "comments", key: ["c1"], server: { todoId: "t2" } },
        ],
      },
    ]);
    expect(outcomes[0]?.status === "merged" && outcomes[0].conflicts).toHaveLength(2);
    expect(device.row("todos", "t1")).toBeUndefined();
    expect(device.row("comments", "c1")).toMatchObject({ todoId: "t2" });
  });

  test("P2, P7: a row under one that the same transaction moves away from the cascade is deleted by its own operation", async () => {
    const { server, device } = await open();
    await using _ = server;
    expect(
      await device.sync(
        device.tx(
          device.delete("replies", "r1", device.row("replies", "r1") ?? {}),
          device.update("comments", "c1", { todoId: ["t1", "t2"] }),
          device.delete("todos", "t1", device.row("todos", "t1") ?? {}),
        ),
      ),
    ).toEqual([]);
    expect(device.row("comments", "c1")).toMatchObject({ todoId: "t2" });
    expect(device.row("replies", "r1")).toBeUndefined();
    expect(device.row("todos", "t1")).toBeUndefined();
  });
});

describe("rows that are gone in the end", () => {
  test("P8: an update whose row a trigger takes away is refused, and names its operation", async () => {
    const vanish = `CREATE TRIGGER vanish AFTER UPDATE ON todos WHEN NEW.title = 'vanish' BEGIN DELETE FROM todos WHERE id = NEW.id; END`;
    const { server, device } = await open({ sql: [...someRows, vanish] });
    await using _ = server;
    const outcomes = await device.sync(
      device.tx(
        device.update("todos", "t2", { title: ["Two", "Due"] }),
        device.update("todos", "t1", { title: ["One", "vanish"] }),
      ),
    );
    expect(outcomes).toMatchObject([
      {
        code: "UNDONE",
        message: "A row of table `todos` was gone at the end of the transaction that wrote it.",
        operation: { index: 1, key: ["t1"] },
      },
    ]);
    expect(device.row("todos", "t2")).toMatchObject({ title: "Two" });
  });

  test("P8: so is an insert of a row that has nothing but its key", async () => {
    const keys = sqliteTable("keys", { id: text("id").primaryKey() });
    await using server = await openSmallServer({
      schema: { keys },
      sync: defineSync({ keys }, { keys: { scope: "everyone" } }),
      sql: [
        "CREATE TABLE keys (id TEXT PRIMARY KEY NOT NULL)",
        "CREATE TRIGGER vanish AFTER INSERT ON keys WHEN NEW.id = 'vanish' BEGIN DELETE FROM keys WHERE id = NEW.id; END",
      ],
    });
    const { device } = server;
    const outcomes = await device.sync(
      device.tx(device.insert("keys", "vanish", {})),
      device.tx(device.insert("keys", "stay", {})),
    );
    expect(outcomes).toMatchObject([{ number: 1, code: "UNDONE" }]);
    expect(server.all("SELECT id FROM keys")).toEqual([["stay"]]);
  });
});

describe("the app's `check`", () => {
  test("P9: is asked about what the transaction made, not about rows that it left alone", async () => {
    const asked: unknown[] = [];
    const check = (change: { readonly before?: Todo; readonly after?: Todo }) => {
      asked.push([change.before?.title, change.after?.title]);
      return change.after?.title === "theirs" ? "Not this title." : undefined;
    };
    const { server, device } = await open({ check });
    await using _ = server;
    const seen = { t1: device.row("todos", "t1") ?? {}, t3: device.row("todos", "t3") ?? {} };
    await server.run(`UPDATE todos SET title = 'theirs' WHERE id = 't2'`);
    await server.run(`DELETE FROM todos WHERE id = 't3'`);
    const outcomes = await device.sync(
      // The resolver keeps the row that is there, which `check` would not let pass.
      device.tx(device.update("todos", "t2", { title: ["Two", "mine"] })),
      // There is no row, and none is wanted.
      device.tx(device.delete("todos", "t3", seen.t3), device.insert("todos", "n1", todo)),
      device.tx(device.delete("todos", "t1", seen.t1)),
    );
    expect(outcomes).toMatchObject([{ number: 1, status: "merged", conflicts: [{ winner: "server" }] }]);
    expect(asked).toEqual([
      [undefined, "New"],
      ["One", undefined],
    ]);
  });

  test("P9: one that answers no text, or throws, refuses its row; the device learns no more than that", async () => {
    const check = ({ after }: { readonly after?: Todo }): string | undefined => {
      if (after?.title === "throw") throw new Error("out of order");
      return true as never;
    };
    const { server, device } = await open({ check });
    await using _ = server;
    const outcomes = await device.sync(
      device.tx(device.insert("todos", "n1", { ...todo, title: "throw" })),
      device.tx(device.insert("todos", "n2", todo)),
    );
    const refused = { code: "INVALID_VALUE", message: "The `check` of table `todos` failed.", operation: { index: 0 } };
    expect(outcomes).toMatchObject([refused, refused]);
    expect(server.errors.map(String)).toEqual([
      "Error: out of order",
      "TypeError: The `check` of table `todos` must return a text or undefined, and at once.",
    ]);
  });
});
