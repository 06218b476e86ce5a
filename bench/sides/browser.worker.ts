/** The worker of `browser`, as an app has it. */
import { httpTransport } from "drizzle-sync/client";
import { startSyncWorker } from "drizzle-sync/client/worker";
import { migrations, sync } from "./browser-definition.ts";

startSyncWorker({ sync, migrations, transport: httpTransport({ url: "/api/sync" }) });
