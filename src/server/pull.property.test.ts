import { expect, test } from "vitest";
import { createRandom } from "../testing/random.ts";
import type { HandDevice } from "../testing/hand-device.ts";
import { openServer, type ServerFixture } from "../testing/server-fixture.ts";
import type { Page, PullRequest } from "../protocol/pull.ts";

const seeds = Number(process.env["RUNS"] ?? 60);
const first = Number(process.env["SEED"] ?? 1);
const lists = ["a", "b", "c"];

/** What a device with these scopes must hold, recomputed from the tables alone. */
async function expected(server: ServerFixture, device: HandDevice): Promise<Record<string, unknown[]>> {
  const held = new Set(device.held);
  const keep = <T>(rows: readonly T[], scopes: (row: T) => readonly string[]): T[] =>
    rows.filter((row) => scopes(row).some((scope) => held.has(scope)));
  const todos = (await server.all("SELECT id, list_id, assignee, title, notes, rank FROM todos ORDER BY id")).map(
    (row) => [...row],
  );
  const scopesOfTodo = ([, list, assignee]: readonly unknown[]): string[] => [
    `list:${String(list)}`,
    ...(assignee === null ? [] : [`user:${String(assignee)}`]),
  ];
  const todoById = new Map(todos.map((row) => [row[0], row]));
  const comments = (await server.all("SELECT id, todo_id, body FROM comments ORDER BY id")).map((row) => [...row]);
  const scopesOfComment = ([, todo]: readonly unknown[]): string[] => scopesOfTodo(todoById.get(todo) ?? []);
  const commentById = new Map(comments.map((row) => [row[0], row]));
  const replies = (await server.all("SELECT id, comment_id, body FROM replies ORDER BY id")).map((row) => [...row]);
  return {
    lists: keep(
      (await server.all("SELECT id, name FROM lists ORDER BY id")).map((row) => [...row]),
      ([id]) => [`list:${String(id)}`],
    ),
    todos: keep(todos, scopesOfTodo),
    comments: keep(comments, scopesOfComment),
    replies: keep(replies, ([, comment]) => scopesOfComment(commentById.get(comment) ?? [])),
  };
}

function shown(device: HandDevice): Record<string, unknown[]> {
  const columns: Record<string, readonly string[]> = {
    lists: ["id", "name"],
    todos: ["id", "listId", "assignee", "title", "notes", "rank"],
    comments: ["id", "todoId", "body"],
    replies: ["id", "commentId", "body"],
  };
  return Object.fromEntries(
    Object.entries(columns).map(([table, names]) => [
      table,
      device
        .rows(table)
        .map((row) => names.map((name) => row[name] ?? null))
        .sort((a, b) => (String(a[0]) < String(b[0]) ? -1 : 1)),
    ]),
  );
}

test("U2, R2: after every round the base is the server's state in the device's scopes, however rows, scopes and rights move", async () => {
  for (let seed = first; seed < first + seeds; seed++) {
    const random = createRandom(seed);
    await using server = await openServer({ sql: [`PRAGMA foreign_keys = ON`] });
    const ids = (prefix: string, count: number): string => `${prefix}${random.int(count)}`;
    const text = (): string => `v${random.int(1_000_000)}`;
    const value = (): string => (random.chance(0.3) ? "NULL" : `'${random.pick(["ann", "bob"])}'`);
    // Some row, the same one for the same seed.
    const any = (): string => `ORDER BY (unicode(substr(id, -1)) * ${random.int(1000)}) % 31, id LIMIT 1`;
    const write = (): string => {
      switch (random.int(13)) {
        case 0:
          return `INSERT OR IGNORE INTO lists VALUES ('${random.pick(lists)}', '${text()}', NULL)`;
        case 1:
          return `INSERT OR IGNORE INTO todos (id, list_id, assignee, title) SELECT '${ids("t", 9)}', id, ${value()}, '${text()}' FROM lists ${any()}`;
        case 2:
          return `INSERT OR REPLACE INTO todos (id, list_id, assignee, title) SELECT '${ids("t", 9)}', id, ${value()}, '${text()}' FROM lists ${any()}`;
        case 3:
          return `INSERT OR IGNORE INTO comments SELECT '${ids("c", 9)}', id, '${text()}' FROM todos ${any()}`;
        case 4:
          return `INSERT OR IGNORE INTO replies SELECT '${ids("r", 9)}', id, '${text()}' FROM comments ${any()}`;
        case 5:
          return `UPDATE todos SET title = '${text()}' WHERE id = '${ids("t", 9)}'`;
        case 6:
          return `UPDATE todos SET notes = '${text()}', rank = ${random.int(9)} WHERE id > '${ids("t", 9)}'`;
        case 7:
          return `UPDATE todos SET list_id = (SELECT id FROM lists ${any()}), assignee = ${value()} WHERE id = '${ids("t", 9)}'`;
        case 8:
          return `UPDATE comments SET todo_id = (SELECT id FROM todos ${any()}), body = '${text()}' WHERE id = '${ids("c", 9)}' AND EXISTS (SELECT 1 FROM todos)`;
        case 9:
          return `DELETE FROM ${random.pick(["todos", "comments", "replies"])} WHERE id = '${ids(random.pick(["t", "c", "r"]), 9)}'`;
        case 10:
          return `UPDATE OR IGNORE todos SET id = '${ids("t", 9)}' WHERE id = '${ids("t", 9)}'`;
        case 11:
          return `DELETE FROM lists WHERE id = '${random.pick(lists)}' AND ${random.int(4)} = 0`;
        default:
          return `UPDATE lists SET name = '${text()}'`;
      }
    };
    const grants = (): string[] => random.some(["list:a", "list:b", "list:c", "user:ann", "everyone"], 0.6);
    server.grants.set("ann", { read: grants(), write: [] });
    const device = server.device("ann");
    await device.handshake();
    for (let i = 0; i < 15; i++) await server.run(write());
    for (let step = 0; step < 25; step++) {
      for (let i = random.int(4); i > 0; i--) await server.run(write());
      if (random.chance(0.25)) server.grants.set("ann", { read: grants(), write: [] });
      if (random.chance(0.15)) device.wanted = random.chance(0.5) ? undefined : grants();
      if (random.chance(0.05)) device.cursor = undefined;
      const limit = random.chance(0.7) ? 1 + random.int(6) : 1000;
      let held: PullRequest["held"] = device.request().held;
      let round: PullRequest["round"];
      let stage: Page[] = [];
      for (let i = 0; i < 400; i++) {
        const answer = await device.ask({ held, limit, ...(round === undefined ? {} : { round }) });
        if (answer.kind === "need-held") held = device.held;
        else if (answer.kind === "restart") [round, stage] = [undefined, []];
        else if (answer.kind === "page") {
          stage.push(answer);
          round = answer.round;
          if (answer.to !== undefined) {
            device.apply(stage);
            break;
          }
        } else throw new Error(`seed ${seed}: ${JSON.stringify(answer)}`);
        // The world goes on between the pages of a round.
        if (random.chance(0.3)) await server.run(write());
        if (random.chance(0.03)) server.grants.set("ann", { read: grants(), write: [] });
        if (i === 399) throw new Error(`seed ${seed}: a round does not end`);
      }
      expect(shown(device), `seed ${seed}, step ${step}`).toEqual(await expected(server, device));
    }
  }
}, 120_000);
