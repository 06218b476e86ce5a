/** The server of `bootstrap`: ours, or the leanest one that can answer with all rows. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { initTRPC } from "@trpc/server";
import Database from "better-sqlite3";
import { Encoder } from "cbor-x";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { defineSync, withSync } from "drizzle-sync";
import { createSyncHandler, createSyncRouter, toNodeListener } from "drizzle-sync/server";
import { todos } from "./data.ts";
import { report } from "./measure.ts";

const [variant, file] = process.argv.slice(2);
const sqlite = new Database(file);
sqlite.pragma("journal_mode = WAL");
sqlite.pragma("synchronous = NORMAL");

function ours() {
  const db = withSync(drizzle(sqlite, { schema: { todos } }), defineSync({ todos }, { todos: { scope: "everyone" } }));
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

/** Rows after a key, as one CBOR array of arrays; an empty one is the end. */
function lean() {
  const page = sqlite.prepare("SELECT * FROM todos WHERE id > ? ORDER BY id LIMIT 5000").raw();
  const encoder = new Encoder({ useRecords: false, mapsAsObjects: true });
  return (request: { url?: string | undefined }, response: { end(bytes: Uint8Array): void }) => {
    response.end(encoder.encode(page.all(decodeURIComponent(request.url?.slice(1) ?? ""))));
  };
}

const server = createServer(variant === "ours" ? ours() : lean());
server.listen(0, "127.0.0.1", () => {
  report({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
});
process.once("message", () => {
  const { user, system } = process.cpuUsage();
  server.closeAllConnections();
  server.close();
  sqlite.close();
  report({ cpuMs: (user + system) / 1000 });
  process.disconnect();
});
