/** The worker of the browser tests. */

import { httpTransport } from "../../client/http-transport.ts";
import { startSyncWorker } from "../../client/browser/worker.ts";
import { migrations, sync } from "./web-schema.ts";

// A page that asks for it gets a worker that knows the first migration alone, as an older release of an app would.
const upTo = Number(new URLSearchParams(location.search).get("migrations") ?? migrations.length);

startSyncWorker({
  sync,
  migrations: migrations.slice(0, upTo),
  transport: httpTransport({ url: "/api/sync" }),
  idleTransactionMs: 1000,
});
