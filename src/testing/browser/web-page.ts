/** The page of the browser tests: puts database and client where Playwright's functions find them. */

import { eq, sql } from "drizzle-orm";
import { openBrowserDatabase } from "../../client/browser/open-browser-database.ts";
import { createSyncClient } from "../../client/client.ts";
import { liveSourceOfQuery, type LiveQuery } from "../../client/live-source.ts";
import { writeForever } from "./web-page-writer.ts";
import { schema, sync } from "./web-schema.ts";

const parameters = new URLSearchParams(location.search);

const db = openBrowserDatabase({
  name: parameters.get("name") ?? "test",
  sync,
  worker: () =>
    new Worker(new URL(`./web.worker.js?migrations=${parameters.get("migrations") ?? "2"}`, import.meta.url), {
      type: "module",
    }),
});

/** Asked for tokens so often; each is another one, as after a refresh. */
let tokens = 0;
const client = createSyncClient({
  db,
  token: () => (parameters.has("user") ? `${parameters.get("user")}${++tokens}` : null),
});

/** Collects what a live query shows. */
function watch(query: LiveQuery<unknown>): { readonly shown: unknown[]; readonly stop: () => void } {
  const shown: unknown[] = [];
  const source = liveSourceOfQuery(query);
  if (!source) throw new Error("The query has no live source.");
  const stop = source.watch(
    query,
    (data) => shown.push(data),
    (error) => shown.push(String(error)),
  );
  return { shown, stop };
}

/** The code of the error that a query ends in. */
async function codeOf(query: PromiseLike<unknown>): Promise<unknown> {
  try {
    await query;
    return "no error";
  } catch (error) {
    return (
      ((error as Error).cause as { readonly code?: unknown } | undefined)?.code ??
      (error as { readonly code?: unknown }).code
    );
  }
}

const page = { db, client, ...schema, eq, sql, watch, codeOf };

declare global {
  interface Window {
    readonly t: typeof page;
  }
}

Object.assign(window, { t: page });

if (parameters.has("writes")) {
  client.start();
  writeForever(page);
}
