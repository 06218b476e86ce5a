// Look at: the sync procedures of the same router once more, as plain HTTP with CBOR bodies and a stream of pages.
import { createSyncHandler } from "drizzle-sync/server";
import { shutdown } from "@/server/db";
import { appRouter, createContext } from "@/server/router";

export const dynamic = "force-dynamic";

export const { GET, POST, OPTIONS } = createSyncHandler({
  router: appRouter,
  procedures: "sync",
  createContext,
  shutdown,
});
