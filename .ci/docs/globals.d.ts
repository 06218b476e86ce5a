/**
 * What unnamed code blocks of the documentation may use without declaring it: the package's own exports, as if imported,
 * and the things of an app that prose takes for granted. See `check-docs.mjs`.
 */
import type * as client_ from "../../src/client/index.ts";
import type * as plugin from "../../src/plugin/index.ts";
import type * as server from "../../src/server/index.ts";
import type { initTRPC, AnyTRPCRouter } from "@trpc/server";
import type * as http from "node:http";
import type { db as appDb } from "./README.md/app.ts";

declare global {
  const createSyncClient: typeof client_.createSyncClient;
  const httpTransport: typeof client_.httpTransport;
  const trpcTransport: typeof client_.trpcTransport;
  const defineSync: typeof plugin.defineSync;
  const withSync: typeof plugin.withSync;
  const createSyncRouter: typeof server.createSyncRouter;
  const createSyncHandler: typeof server.createSyncHandler;
  const toNodeListener: typeof server.toNodeListener;
  const verifyJwt: typeof server.verifyJwt;
  const createServer: typeof http.createServer;

  const db: typeof appDb;
  const client: client_.SyncClient;
  const trpc: { readonly sync: client_.TrpcSyncClient };
  const appRouter: AnyTRPCRouter;
  const createContext: () => { user: { id: string } };
  const protectedProcedure: ReturnType<
    ReturnType<typeof initTRPC.context<{ user: { id: string } }>>["create"]
  >["procedure"];
  function listsOf(user: string): Promise<`list:${string}`[]>;
}
