/**
 * A device of the kill test: a file with WAL, a client that stays live, and transactions written into it all the while.
 *
 * @module
 */

import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { createSyncClient, type Outcome, type PendingOperation } from "../../client/client.ts";
import { httpTransport } from "../../client/http-transport.ts";
import { heldScopes, requireCheckpoint } from "../../client/checkpoint.ts";
import { all, transact } from "../../plugin/core.ts";
import { readTransactions } from "../../plugin/device-log.ts";
import { syncOf } from "../../plugin/sync-database.ts";
import { withSync } from "../../plugin/with-sync.ts";
import { syncErrorCodes } from "../../protocol/errors.ts";
import { parseCursor } from "../../protocol/ids.ts";
import { sumRows } from "../history/row-sums.ts";
import { pause, supervised } from "./process.ts";
import { readRows } from "./read-rows.ts";
import { deviceDdl, schema, sync } from "./schema.ts";

const self = supervised();
const { config, random, log } = self;

const sqlite = new Database(config.file);
self.watch(sqlite);
sqlite.pragma("journal_mode = WAL");
sqlite.exec(deviceDdl);
const db = withSync(drizzle(sqlite, { schema }), sync);
const { connection } = syncOf(db);
if (connection.kind !== "sync") throw new Error("This driver answers at once.");
const client = createSyncClient({
  db,
  retry: { baseMs: 20, maxMs: 200 },
  // Small pages, so that rounds of several are cut in two.
  pageRows: 40,
  onError: ({ code, message }) => {
    if (syncErrorCodes[code].policy === "stop") log.write({ kind: "failed", message: `${code}: ${message}` });
  },
  transport: httpTransport({
    url: `http://127.0.0.1:${config.port}`,
    token: () => config.name,
    fetch: async (url, init) => {
      self.mark("request");
      const response = await fetch(url, init);
      self.mark("answer");
      return response;
    },
  }),
});

/** The transaction that operations belong to. */
const txOf = (operations: readonly PendingOperation[]): string =>
  String(operations.find(({ table }) => table === "ops")?.key["id"]);
const keyOf = ({ key }: { readonly key: Readonly<Record<string, unknown>> }): string => String(key["id"]);

// What the kill left in doubt is looked at before anything else happens.
if (self.inDoubt !== undefined) {
  const tx = self.inDoubt;
  const queued = (await client.pending.list()).find(({ operations }) => txOf(operations) === tx);
  log.write({
    kind: "found",
    tx,
    isVisible: sqlite.prepare("SELECT 1 FROM ops WHERE id = ?").get(tx) !== undefined,
    operations: queued?.operations.map(({ kind, table, key }) => ({ kind, table, key: keyOf({ key }) })) ?? null,
  });
}

const lastingRows =
  "SELECT 'accounts', id, by FROM accounts UNION ALL SELECT 'registers', id, by FROM registers ORDER BY 1, 2";
let lastRead = "";
/** Notes what the tables show, and at which cursor. `isWhole`: also sums of all rows, where they are the base alone. */
const read = (isWhole: boolean): void => {
  const found = transact(connection, "read", function* () {
    const checkpoint = yield* requireCheckpoint();
    const { cursor, handled } = checkpoint;
    if (cursor === undefined) return undefined;
    const pending = yield* readTransactions(syncOf(db), { after: handled.number, limit: Number.MAX_SAFE_INTEGER });
    const rows = yield* all(lastingRows);
    const text = JSON.stringify([cursor, pending.length, rows]);
    if (text === lastRead) return undefined;
    lastRead = text;
    if (!isWhole || pending.length > 0) return { cursor, pending, rows };
    return { cursor, pending, rows, whole: { scopes: heldScopes(checkpoint), sums: sumRows(readRows(sqlite)) } };
  });
  if (!found) return;
  const { cursor, pending, rows, ...rest } = found;
  log.write({
    kind: "read",
    seq: parseCursor(cursor).seq,
    pending: pending.map(({ entries }) => String(entries.find(({ table }) => table.key === "ops")?.key[0])),
    rows: rows.map(([table, key, by]) => [String(table), String(key), String(by)]),
    ...rest,
  });
};

// And what it left, before a page mends it.
read(true);

client.outcomes.subscribe((outcome) => {
  log.write({ kind: "told", tx: txOf(outcome.operations), status: outcome.status });
});
let seq = -1;
client.subscribe(({ cursor, status, error }) => {
  if (status === "error")
    log.write({ kind: "failed", message: `The engine stopped: ${error?.code}: ${error?.message}` });
  if (cursor === undefined) {
    if (seq >= 0) log.write({ kind: "reset" });
    seq = -1;
    return;
  }
  const { seq: now } = parseCursor(cursor);
  if (now === seq) return;
  seq = now;
  log.write({ kind: "cursor", seq });
});
client.start();
self.mark("ready");

/** Waits for the fate of the last transaction, as an app would. */
async function follow(): Promise<void> {
  const last = (await client.pending.list()).at(-1);
  if (!last) return;
  const { status } = await client.pending.settled(last.id);
  log.write({ kind: "settled", tx: txOf(last.operations), status });
}

function listed(outcome: Outcome): {
  tx: string;
  status: string;
  conflicts: { table: string; key: string; winner: string }[];
} {
  const conflicts = outcome.status === "merged" ? outcome.conflicts : [];
  return {
    tx: txOf(outcome.operations),
    status: outcome.status,
    ...("again" in outcome && outcome.again ? { again: true } : {}),
    conflicts: conflicts.map(({ table, key, winner }) => ({ table, key: keyOf({ key }), winner })),
  };
}

self.onOrder(async (order) => {
  // Nobody asks it to: whoever is left alone gets in step. The supervisor says when it has been long enough.
  while (client.state.pending > 0) await pause(self);
  if (order === "finish") await client.sync();
  read(true);
  if (order === "finish") {
    const pending = (await client.pending.list()).length;
    log.write({ kind: "end", pending, outcomes: (await client.outcomes.list()).map(listed) });
    await client.close();
    sqlite.close();
    self.done(order);
    process.disconnect();
  } else self.done(order);
});

while (self.isWriting) {
  await pause(self);
  read(random.chance(0.1));
  if (!self.isWriting) break;
  // A queue that only grows would make one long push of it all.
  if (client.state.pending > 60) continue;
  self.write(sqlite, (body) => db.transaction(body));
  if (random.chance(0.1)) follow().catch((error: unknown) => log.write({ kind: "failed", message: String(error) }));
}
