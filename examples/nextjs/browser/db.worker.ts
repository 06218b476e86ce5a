// Look at: all there is to the worker. It owns the local SQLite file and runs the sync; of several tabs, one leads.
import { httpTransport } from "drizzle-sync/client";
import { startSyncWorker } from "drizzle-sync/client/worker";
import { sync } from "@/shared/sync";
import { migrations } from "./migrations";

startSyncWorker({ sync, migrations, transport: httpTransport({ url: "/api/sync" }) });
