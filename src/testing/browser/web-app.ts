/**
 * The server of the browser tests: an app as people have it, with a database, a router and the sync handler, in the
 * process of the test.
 *
 * @module
 */

import { initTRPC, TRPCError } from "@trpc/server";
import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import type { RequestListener } from "node:http";
import { withSync, type Synced } from "../../plugin/with-sync.ts";
import type { BetterSQLite3Database } from "drizzle-orm/better-sqlite3";
import { createSyncHandler } from "../../server/http/handler.ts";
import { toNodeListener } from "../../server/http/node-listener.ts";
import { createSyncRouter } from "../../server/router.ts";
import { migrations, schema, sync } from "./web-schema.ts";

export interface WebApp extends Disposable {
  readonly db: Synced<BetterSQLite3Database<typeof schema>>;
  readonly listener: RequestListener;
  /** The tokens that requests came with. */
  readonly tokens: Set<string>;
  /** While true, every request is refused as if nobody was signed in. */
  isLocked: boolean;
}

/** Makes the app: the list `l` and everything in it belongs to everybody who is signed in. */
export function createWebApp(): WebApp {
  const database = new Database(":memory:");
  for (const { statements } of migrations) for (const statement of statements) database.exec(statement);
  const db = withSync(drizzle(database, { schema }), sync);
  const t = initTRPC.context<{ readonly user: string | null }>().create();
  const procedure = t.procedure.use(({ ctx, next }) => {
    if (ctx.user === null || app.isLocked) throw new TRPCError({ code: "UNAUTHORIZED", message: "Sign in." });
    app.tokens.add(ctx.user);
    return next({ ctx: { user: ctx.user } });
  });
  const scopes = ["list:l", "list:server"] as const;
  const router = t.router({
    sync: createSyncRouter({
      db,
      procedure,
      subject: ({ ctx }) => ctx.user.replace(/\d+$/, ""),
      scopes: () => ({ read: scopes, write: scopes }),
    }),
  });
  const stop = new AbortController();
  const handler = createSyncHandler({
    router,
    procedures: "sync",
    createContext: ({ req }) => ({ user: req.headers.get("authorization")?.slice("Bearer ".length) ?? null }),
    shutdown: stop.signal,
  });
  const app: WebApp = {
    db,
    listener: toNodeListener(handler),
    tokens: new Set(),
    isLocked: false,
    [Symbol.dispose]: () => {
      stop.abort();
      database.close();
    },
  };
  return app;
}
