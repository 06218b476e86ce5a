/** The device of `bootstrap`: takes all rows into an empty file, with our client or with the leanest loop that does. */
import { createHash } from "node:crypto";
import { get } from "node:http";
import Database from "better-sqlite3";
import { decode } from "cbor-x";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { defineSync, withSync } from "drizzle-sync";
import { createSyncClient, httpTransport } from "drizzle-sync/client";
import { createTables, insertSql, todos, type StoredTodo } from "./data.ts";
import { report } from "./measure.ts";

/** What a turn found. */
export interface BootstrapTurn {
  readonly ms: number;
  readonly cpuMs: number;
  readonly rows: unknown;
  readonly digest: string;
}

const [variant, file, url = ""] = process.argv.slice(2);
const sqlite = new Database(file);
sqlite.pragma("journal_mode = WAL");
sqlite.pragma("synchronous = NORMAL");
sqlite.exec(createTables);

function ours(): () => Promise<void> {
  const db = withSync(drizzle(sqlite, { schema: { todos } }), defineSync({ todos }, { todos: { scope: "everyone" } }));
  const client = createSyncClient({ db, transport: httpTransport({ url }) });
  return () =>
    new Promise((resolve, reject) => {
      client.subscribe((state) => {
        if (state.status === "error") reject(state.error ?? new Error("The client stopped."));
        if (state.status === "synced") resolve(client.close());
      });
      client.start();
    });
}

function lean(): () => Promise<void> {
  const insert = sqlite.prepare(insertSql);
  const store = sqlite.transaction((rows: readonly StoredTodo[]) => {
    for (const row of rows) insert.run(...row);
  });
  const fetchPage = (after: string): Promise<readonly StoredTodo[]> =>
    new Promise((resolve, reject) => {
      get(`${url}/${encodeURIComponent(after)}`, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () => resolve(decode(Buffer.concat(chunks)) as readonly StoredTodo[]));
      }).on("error", reject);
    });
  return async () => {
    let page = await fetchPage("");
    while (page.length > 0) {
      // The next page is on its way while this one is written.
      const next = fetchPage((page[page.length - 1] as StoredTodo)[0]);
      store(page);
      page = await next;
    }
  };
}

const bootstrap = variant === "ours" ? ours() : lean();
const cpu = process.cpuUsage();
const started = performance.now();
await bootstrap();
const ms = performance.now() - started;
const { user, system } = process.cpuUsage(cpu);
const digest = createHash("sha256");
for (const row of sqlite.prepare("SELECT * FROM todos ORDER BY id").raw().iterate()) digest.update(JSON.stringify(row));
const turn: BootstrapTurn = {
  ms,
  cpuMs: (user + system) / 1000,
  rows: sqlite.prepare("SELECT count(*) FROM todos").pluck().get(),
  digest: digest.digest("hex"),
};
sqlite.close();
report(turn);
process.disconnect();
