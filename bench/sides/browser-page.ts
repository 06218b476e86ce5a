/** The page of `browser`: a first sync into an empty file on OPFS, or the fastest local load of the same rows. */
import { openBrowserDatabase } from "drizzle-sync/client";
import { createSyncClient } from "drizzle-sync/client";
import { todos } from "../data.ts";
import { sync } from "./browser-definition.ts";

/** Milliseconds, and how many rows there are then. */
export interface BrowserTook {
  readonly ms: number;
  readonly rows: number;
}

/** From `start()` until everything is durable and visible. */
async function bootstrap(name: string): Promise<BrowserTook> {
  const db = openBrowserDatabase({
    name,
    sync,
    worker: () => new Worker(new URL("./browser.worker.js", import.meta.url), { type: "module" }),
  });
  const client = createSyncClient({ db });
  // The file is open and migrated: only the sync counts.
  await db.select().from(todos).limit(1);
  const started = performance.now();
  await new Promise<void>((resolve, reject) => {
    client.subscribe((state) => {
      if (state.status === "error") reject(state.error ?? new Error("The client stopped."));
      if (state.status === "synced") resolve();
    });
    client.start();
  });
  const ms = performance.now() - started;
  const rows = await db.$count(todos);
  await client.close();
  return { ms, rows };
}

/** The rows come as text before the clock starts. */
function load(name: string): Promise<BrowserTook> {
  const worker = new Worker(new URL("./browser-load.worker.js", import.meta.url), { type: "module" });
  return new Promise((resolve, reject) => {
    worker.addEventListener("message", ({ data }: MessageEvent<BrowserTook>) => {
      worker.terminate();
      resolve(data);
    });
    worker.addEventListener("error", (event) => reject(new Error(event.message)));
    worker.postMessage(name);
  });
}

const page = { bootstrap, load };
export type BrowserPage = typeof page;

Object.assign(window, { t: page });
