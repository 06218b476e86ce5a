/** The server: a Drizzle database made syncable, a tRPC router, and Node's own `http`. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { initTRPC, TRPCError } from "@trpc/server";
import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { withSync } from "drizzle-sync";
import { createSyncHandler, createSyncRouter, toNodeListener } from "drizzle-sync/server";
import { createTables, lists, sync, tasks } from "./schema.ts";

export function startServer(file: string) {
  const client = new Database(file);
  client.pragma("journal_mode = WAL");
  client.exec(createTables);
  const db = withSync(drizzle(client, { schema: { lists, tasks } }), sync);

  // A stand-in for a real check of a token: who calls is what the token says.
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
      scopes: () => {
        const every = db.select({ id: lists.id }).from(lists).all();
        const scopes = every.map(({ id }) => `list:${id}` as const);
        return { read: scopes, write: scopes };
      },
      scopesDependOn: [lists],
    }),
  });

  const server = createServer(toNodeListener(createSyncHandler({ router, procedures: "sync", createContext })));
  return new Promise<{ db: typeof db; url: string; close: () => void }>((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      resolve({ db, url, close: () => (server.closeAllConnections(), server.close(), client.close()) });
    });
  });
}
