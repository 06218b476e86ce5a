/**
 * The server of every benchmark that needs one: ours as an app sets it up, or the leanest one that does the same.
 */
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { initTRPC } from "@trpc/server";
import type Database from "better-sqlite3";
import { createSyncHandler, createSyncRouter, toNodeListener } from "drizzle-sync/server";
import { changeSql, generateTodos, insertSql, type StoredTodo } from "../data.ts";
import { cpuMs, memory, serve } from "../remote.ts";
import { closeFile, openFile, openOurs, type Variant } from "./database.ts";
import { leanBroadcast, leanServer } from "./lean.ts";

let sqlite: Database.Database;
let stop = (): void => undefined;

function ours(database: Database.Database): RequestListener {
  const db = openOurs(database);
  const t = initTRPC.create();
  const router = t.router({
    sync: createSyncRouter({
      db,
      procedure: t.procedure,
      subject: () => "reader",
      scopes: () => ({ read: ["everyone" as const], write: ["everyone" as const] }),
    }),
  });
  return toNodeListener(createSyncHandler({ router, procedures: "sync", createContext: () => ({}) }));
}

/** Every nth of the rows; the same ones are asked for again and again. */
function idsOf(count: number, rows: number, seed: number): readonly string[] {
  const name = `${count} ${rows} ${seed}`;
  if (chosen?.name !== name) {
    const step = Math.max(1, Math.floor(rows / count));
    chosen = { name, ids: [...generateTodos(rows, seed)].filter((_, i) => i % step === 0).map(([id]) => id) };
  }
  return chosen.ids;
}
let chosen: { readonly name: string; readonly ids: readonly string[] } | undefined;

const commands = {
  /** Opens the file and serves it; answers where. */
  async listen(variant: Variant, file: string): Promise<string> {
    sqlite = openFile(file);
    const server = createServer(variant === "ours" ? ours(sqlite) : leanServer(sqlite));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    stop = () => {
      server.closeAllConnections();
      server.close();
    };
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  },
  /** Changes three columns of every nth row, in one transaction; answers how many. */
  change(count: number, rows: number, seed: number, round = 0): number {
    const ids = idsOf(count, rows, seed);
    const update = sqlite.prepare(changeSql);
    const now = Date.UTC(2026, 0, 1) + round * 1_000_000;
    sqlite.transaction(() => {
      for (let i = 0; i < count; i++)
        update.run(`Changed title ${round} of task ${i}`, 1 - (i % 2), now + i, ids[i % ids.length]);
    })();
    return count;
  },
  /** One row changed again and again, each time in a transaction of its own. */
  hammer(id: string, times: number): void {
    const update = sqlite.prepare("UPDATE todos SET priority = ?, title = ? WHERE id = ?");
    for (let i = 0; i < times; i++) update.run(i, `Title ${i} of the row that changes all the time`, id);
  },
  /** Rows written one transaction each, `everyMs` apart. */
  async trickle(rows: readonly StoredTodo[], everyMs: number): Promise<void> {
    const insert = sqlite.prepare(insertSql);
    for (const row of rows) {
      insert.run(...row);
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  },
  /** Writes to every stream as many bytes as often, and nothing else. */
  async broadcast(bytes: number, times: number, everyMs: number): Promise<void> {
    for (let i = 0; i < times; i++) {
      leanBroadcast(bytes);
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  },
  /** Reads and updates the rows of `change` by key with prepared statements: what this machine and file allow. Milliseconds. */
  raw(count: number, rows: number, seed: number, rounds: number): { readonly read: number; readonly update: number } {
    const ids = idsOf(count, rows, seed).slice(0, count);
    const read = sqlite.prepare("SELECT * FROM todos WHERE id = ?").raw();
    const update = sqlite.prepare("UPDATE todos SET priority = ? WHERE id = ?");
    const timed = (work: (id: string, n: number) => void): number => {
      const times: number[] = [];
      for (let n = 0; n < rounds; n++) {
        const started = performance.now();
        sqlite.transaction(() => ids.forEach((id) => work(id, n)))();
        times.push(performance.now() - started);
      }
      return times.sort((a, b) => a - b)[rounds >> 1] ?? 0;
    };
    sqlite.exec("SAVEPOINT raw");
    const result = { read: timed((id) => read.get(id)), update: timed((id, n) => update.run(n, id)) };
    sqlite.exec("ROLLBACK TO raw; RELEASE raw");
    return result;
  },
  count: (): number => Number(sqlite.prepare("SELECT count(*) FROM todos").pluck().get()),
  cpu: (): number => cpuMs(),
  memory: () => memory(),
  close(): void {
    stop();
    closeFile(sqlite);
  },
};
export type ServerCommands = typeof commands;

serve(commands);
