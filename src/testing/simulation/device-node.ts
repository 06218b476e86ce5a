/**
 * A simulated device: a database, a client over it, a network before it, and what happens when its process dies. It
 * remembers what was written and what was shown, for the oracles.
 *
 * @module
 */

import { drizzle } from "drizzle-orm/better-sqlite3";
import { createSyncClient, type Hold, type SyncClient } from "../../client/client.ts";
import type { Clock } from "../../client/clock.ts";
import type { Transport } from "../../client/transport.ts";
import { stepSync } from "../../plugin/core.ts";
import { hasUnclosedEntries, lastTransaction, readTransactions } from "../../plugin/device-log.ts";
import { syncOf, type SyncDatabase } from "../../plugin/sync-database.ts";
import { openSync } from "../../plugin/with-sync.ts";
import { isSyncError, type SyncError, type SyncErrorCode } from "../../protocol/errors.ts";
import { byteTransport } from "../byte-transport.ts";
import { Crash, openCrashDatabase, reopen, type CrashDatabase } from "../crash-database.ts";
import { createFaultNetwork, type FaultNetwork } from "../fault-network.ts";
import { createRandom } from "../random.ts";
import { checkDevice, checkpointOf } from "./check-device.ts";
import type { LocalTransaction } from "./local-transaction.ts";
import { observe } from "./observe.ts";
import { imageOf } from "./database-image.ts";
import type { Circumstances } from "./plan.ts";
import { schema, syncOfPolicy } from "./schema.ts";
import type { Db } from "./server-node.ts";
import { difference, known, readState, type RowChange, type State } from "./state.ts";
import type { Witness } from "./witness.ts";

export interface DeviceNode {
  readonly name: string;
  readonly subject: string;
  readonly database: CrashDatabase;
  readonly db: Db;
  readonly sync: SyncDatabase;
  readonly client: SyncClient;
  readonly network: FaultNetwork;
  readonly onDemand: boolean;
  readonly holds: Map<string, Hold>;
  readonly written: ReadonlyMap<number, LocalTransaction>;
  /** Outcomes that the app was told of, by the transaction's id. */
  readonly told: ReadonlyMap<string, readonly string[]>;
  /** Outcomes that the app has dealt with. */
  readonly discarded: Set<string>;
  readonly unexpected: unknown[];
  /** Runs statements as the app does, and remembers what they changed. */
  /** Runs a statement as another process does: nobody is told, and no transaction is closed. */
  writeAsStranger(work: () => void): void;
  write(step: number, work: (observed: (statement: () => void) => void) => void): "written" | "refused" | "crashed";
  /** What the process does from time to time: looks for others' commits. */
  upkeep(): void;
  /** Looks at the device as it is committed now. */
  check(step: number): void;
  /** Starts a new process on what the old one had committed. */
  restart(): Promise<void>;
  /** The transaction that had this number when it was pushed. */
  transaction(number: number): LocalTransaction | undefined;
  seenAt(id: string, column: string, value: string): number | undefined;
  close(): Promise<void>;
}

/** Errors that a network, a dying server or a closed client explain. */
const expected = new Set<SyncErrorCode>(["OFFLINE", "TIMEOUT", "UNAVAILABLE", "ABORTED", "CLOSED"]);

export interface DeviceOptions {
  readonly index: number;
  readonly subject: string;
  readonly seed: number;
  readonly circumstances: Circumstances;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly witness: Witness;
  /** The step that is running. */
  readonly step: () => number;
}

export async function startDevice(options: DeviceOptions): Promise<DeviceNode> {
  const { index, subject, circumstances, clock, witness } = options;
  const name = `${subject}'s device`;
  const onDemand = circumstances.onDemand.includes(index);
  const random = createRandom(options.seed);
  const network = createFaultNetwork(circumstances.bytes ? byteTransport(options.transport) : options.transport);
  const written = new Map<number, LocalTransaction>();
  const byNumber = new Map<number, LocalTransaction>();
  const told = new Map<string, string[]>();
  const shown = new Map<string, number>();
  const unexpected: unknown[] = [];
  const holds = new Map<string, Hold>();
  let database = openCrashDatabase(await imageOf("device", circumstances.policy));
  let db: Db;
  let sync: SyncDatabase;
  let client: SyncClient;
  let lastNumber = 0;
  let lastCursor: string | undefined;
  let checked: { readonly database: CrashDatabase; readonly statements: number } | undefined;

  const open = async (): Promise<void> => {
    const own = database;
    const isDead = (): boolean => own.hasCrashed;
    // `openSync` answers what it was given, captured; the type of its export says only that it is an object.
    db = openSync(drizzle(database.handle, { schema }), syncOfPolicy(circumstances.policy), {
      now: () => clock.now(),
    }) as Db;
    sync = syncOf(db);
    client = createSyncClient({
      db,
      transport: network.transport,
      clock,
      random: random.next,
      randomBytes: (length) => Uint8Array.from({ length }, () => random.int(256)),
      pageRows: circumstances.pageRows,
      hold: onDemand ? "on-demand" : "all",
      onError: (error: SyncError) => {
        if (!isDead() && !expected.has(error.code)) unexpected.push(error);
      },
    });
    client.outcomes.subscribe((outcome) => {
      const list = told.get(outcome.id) ?? [];
      list.push(outcome.status);
      told.set(outcome.id, list);
    });
    // Every page is looked at as it is committed, also when the next one follows at once.
    own.onSettled = () => {
      const cursor = checkpointOf(own)?.cursor;
      if (cursor === lastCursor) return;
      lastCursor = cursor;
      node.check(options.step());
    };
    await sync.install("device");
  };

  const look = (visible: State, step: number): void => {
    for (const [id, row] of visible) {
      for (const [column, value] of Object.entries(row.cells)) {
        if (typeof value !== "string") continue;
        const name_ = `${id}|${column}|${value}`;
        if (!shown.has(name_)) shown.set(name_, step);
      }
    }
  };

  /** What strangers wrote; it belongs to the next transaction that is closed. */
  let unclosed: RowChange[] = [];
  let hasUnclosed = false;

  /** Takes note of a transaction that the log has closed since the last look. */
  const noteWritten = (own: readonly RowChange[], step: number): boolean => {
    const connection = observe(database);
    const { number, stamp } = stepSync(connection, lastTransaction());
    if (number === lastNumber) return false;
    const found = stepSync(connection, readTransactions(sync, { after: lastNumber, limit: 10 }));
    if (found.length !== 1 || found[0]?.number !== lastNumber + 1) {
      unexpected.push(
        new Error(`One transaction of ${name} became ${found.map((transaction) => transaction.number).join(", ")}.`),
      );
    }
    lastNumber = number;
    const changes = [...unclosed, ...own];
    unclosed = [];
    hasUnclosed = false;
    const transaction: LocalTransaction = { stamp, number, step, changes };
    written.set(stamp, transaction);
    byNumber.set(number, transaction);
    return true;
  };

  const node: DeviceNode = {
    name,
    subject,
    network,
    onDemand,
    holds,
    written,
    told,
    discarded: new Set(),
    unexpected,
    get database() {
      return database;
    },
    get db() {
      return db;
    },
    get sync() {
      return sync;
    },
    get client() {
      return client;
    },
    write(step, work) {
      const before = known(readState(database.raw));
      let state = before;
      const changes: RowChange[] = [];
      try {
        work((statement) => {
          statement();
          const next = known(readState(database.raw));
          changes.push(...difference(state, next));
          state = next;
        });
      } catch (error) {
        if (error instanceof Crash || database.hasCrashed) {
          // It may have been committed all the same, and the statement that did so was not observed to its end.
          noteWritten([...changes, ...difference(state, known(readState(database.raw)))], step);
          return "crashed";
        }
        if (isSyncError(error)) unexpected.push(error);
        if (difference(before, known(readState(database.raw))).length > 0)
          unexpected.push(new Error(`A transaction that failed left something behind on ${name}.`));
        return "refused";
      }
      noteWritten(changes, step);
      return "written";
    },
    writeAsStranger(work) {
      const before = known(readState(database.raw));
      try {
        work();
      } catch (error) {
        if (isSyncError(error)) unexpected.push(error);
      }
      // Also a statement that changed nothing leaves an entry.
      hasUnclosed = stepSync(observe(database), hasUnclosedEntries());
      unclosed.push(...difference(before, known(readState(database.raw))));
      checked = undefined;
    },
    upkeep() {
      try {
        void sync.lookForCommits();
      } catch (error) {
        if (!database.hasCrashed) throw error;
      }
    },
    check(step) {
      if (hasUnclosed) noteWritten([], step);
      // Entries that nobody has closed yet are in no transaction of the queue.
      if (hasUnclosed) return;
      // What was looked at already, and not touched since, is as it was.
      if (checked?.database === database && checked.statements === database.statements) return;
      checked = { database, statements: database.statements };
      look(checkDevice({ name, database, sync, written }, witness), step);
    },
    async restart() {
      database.crash();
      await client.close().catch(() => undefined);
      network.reset();
      network.cutStream();
      holds.clear();
      database = reopen(database);
      await open();
    },
    transaction(number) {
      // What strangers wrote may just have been closed and pushed.
      if (!byNumber.has(number) && hasUnclosed) noteWritten([], options.step());
      return byNumber.get(number);
    },
    seenAt: (id, column, value) => shown.get(`${id}|${column}|${value}`),
    async close() {
      database.crash();
      await client.close().catch(() => undefined);
      database.raw.close();
    },
  };
  await open();
  return node;
}
