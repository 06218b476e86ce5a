/**
 * The server of the kill test: a file with WAL, the sync router behind Node's own `http`, and writes of its own, some
 * through Drizzle, some by raw SQL past it, some on a second connection.
 *
 * @module
 */

import { createServer } from "node:http";
import { initTRPC, TRPCError } from "@trpc/server";
import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { syncOf } from "../../plugin/sync-database.ts";
import { withSync } from "../../plugin/with-sync.ts";
import { createSyncHandler } from "../../server/http/handler.ts";
import { toNodeListener } from "../../server/http/node-listener.ts";
import { createSyncRouter } from "../../server/router.ts";
import { pause, supervised } from "./process.ts";
import { rooms, schema, scopesOf, sync } from "./schema.ts";

const self = supervised();
const { config, random, log } = self;

function open(): Database.Database {
  const database = new Database(config.file);
  self.watch(database);
  database.pragma("journal_mode = WAL");
  return database;
}
const sqlite = open();
const db = withSync(drizzle(sqlite, { schema }), sync);
await syncOf(db).install("server");
// Writes past the library, from the first one on; opened before, it would miss the tables that the triggers write to.
const other = open();

const createContext = ({ req }: { req: Request }) => ({
  user: req.headers.get("authorization")?.replace("Bearer ", ""),
});
const t = initTRPC.context<typeof createContext>().create();
const signedIn = t.procedure.use(({ ctx: { user }, next }) => {
  if (!user) throw new TRPCError({ code: "UNAUTHORIZED" });
  return next({ ctx: { user } });
});
const router = t.router({
  sync: createSyncRouter({
    db,
    procedure: signedIn,
    subject: ({ ctx }) => ctx.user,
    scopes: ({ subject }) => {
      const scopes = scopesOf(sqlite, subject);
      return { read: scopes, write: scopes };
    },
    heartbeatMs: 2000,
    // The shorter the age, the sooner after its start a server looks at its log for the first time.
    retention: { maxAgeMs: 16_000, maxEntries: config.maxEntries },
    onError: (error) => log.write({ kind: "failed", message: String(error) }),
  }),
});
const listener = toNodeListener(createSyncHandler({ router, procedures: "sync", createContext }));
const server = createServer((request, response) => {
  self.mark("request");
  response.once("finish", () => self.mark("answer"));
  listener(request, response);
});
server.listen(config.port, "127.0.0.1", () => self.mark("ready"));

self.onOrder(async (order) => {
  if (order === "finish") {
    server.closeAllConnections();
    server.close();
    sqlite.close();
    other.close();
    log.write({ kind: "end", pending: 0, outcomes: [] });
    self.done(order);
    process.disconnect();
  } else self.done(order);
});

/** Gives or takes one subject's right to one room. */
function changeRights(): void {
  const subjects = sqlite.prepare("SELECT DISTINCT subject FROM grants ORDER BY subject").pluck().all() as string[];
  const subject = subjects.at(-1);
  if (subject === undefined || subjects.length < 2) return;
  const room = random.pick(rooms.slice(1));
  const taken = sqlite.prepare("DELETE FROM grants WHERE subject = ? AND room = ?").run(subject, room).changes > 0;
  if (!taken) sqlite.prepare("INSERT INTO grants VALUES (?, ?)").run(subject, room);
  db.$sync.scopesChanged(subject);
}

while (self.isWriting) {
  await pause(self);
  if (!self.isWriting) break;
  const how = random.int(3);
  if (how === 0) self.write(sqlite, (body) => db.transaction(body));
  else if (how === 1) self.write(sqlite, (body) => sqlite.transaction(body)());
  else self.write(other, (body) => other.transaction(body).immediate());
  if (random.chance(0.01)) changeRights();
}
