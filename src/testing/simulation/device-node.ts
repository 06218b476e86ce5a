/**
 * A simulated device: a database, a client over it, a network before it, and what happens when its process dies or its file
 * is copied. It remembers what was written and what was shown, for the oracles.
 *
 * @module
 */

import { drizzle } from "drizzle-orm/better-sqlite3";
import { createSyncClient, type Hold, type Outcome, type SyncClient } from "../../client/client.ts";
import type { Clock } from "../../client/clock.ts";
import { readOutcomes } from "../../client/outcomes.ts";
import type { Transport } from "../../client/transport.ts";
import { stepSync } from "../../plugin/core.ts";
import { hasUnclosedEntries, lastTransaction, readTransactions } from "../../plugin/device-log.ts";
import { syncOf, type SyncDatabase } from "../../plugin/sync-database.ts";
import { openSync } from "../../plugin/with-sync.ts";
import { isSyncError, type SyncError, type SyncErrorCode } from "../../protocol/errors.ts";
import { byteTransport } from "../byte-transport.ts";
import { Crash, reopen, type CrashDatabase } from "../crash-database.ts";
import { createFaultNetwork, type FaultNetwork } from "../fault-network.ts";
import { createRandom } from "../random.ts";
import { checkDevice, storedCursor, type Mishaps } from "./check-device.ts";
import { readContents, writeContents, type Contents } from "./contents.ts";
import { giveBack, openInstalled } from "./database-image.ts";
import { createMemory, type Library, type Memory, type MemoryImage } from "./memory.ts";
import { observe } from "./observe.ts";
import type { Circumstances } from "./plan.ts";
import { deviceSyncOf, migration, schemaOf, type Version } from "./schema.ts";
import type { Db } from "./server-node.ts";
import { difference, forgetColumns, known, readState, type RowChange, type State } from "./state.ts";
import { Violation } from "./violation.ts";
import type { Witness } from "./witness.ts";

export interface DeviceNode {
  readonly name: string;
  readonly subject: string;
  readonly options: DeviceOptions;
  /** The version of the app. */
  readonly version: Version;
  readonly database: CrashDatabase;
  readonly db: Db;
  readonly sync: SyncDatabase;
  readonly client: SyncClient;
  readonly network: FaultNetwork;
  readonly onDemand: boolean;
  readonly holds: Map<string, Hold>;
  /** What was written, shown and told here. */
  readonly memory: Memory;
  readonly unexpected: unknown[];
  /** Notes an error that nothing explains. A dead or a closed client explains everything. */
  noteError(error: unknown): void;
  /** Runs statements as the app does, and remembers what they changed. */
  write(step: number, work: (observed: (statement: () => void) => void) => void): "written" | "refused" | "crashed";
  /** Runs a statement as another process does: nobody is told, and no transaction is closed. */
  writeAsStranger(work: () => void): void;
  /** Runs something of the client's that may write one local transaction, and remembers what that changed. */
  writeThrough(step: number, work: () => Promise<void>): Promise<void>;
  /** Takes note of what strangers wrote, if it has been closed as a transaction meanwhile. */
  noteClosed(): void;
  /** What the process does from time to time: looks for others' commits. */
  upkeep(): void;
  /** Looks at the device as it is committed now. */
  check(step: number): void;
  /** From now on the network is good, and the process lives. */
  endFaults(): void;
  /** Moves the device's clock. */
  setClock(skewMs: number): void;
  /** Starts a new process on what the old one had committed. */
  restart(): Promise<void>;
  /** Closes the client, and makes another one over the same database. */
  reopenClient(): Promise<void>;
  /** Installs the app's next version, which migrates the database as it starts. */
  upgrade(): Promise<void>;
  /** The device's file as it is now; undefined while others' entries are open in it. */
  image(): DeviceImage | undefined;
  /** Puts the file back to what it was. */
  restore(image: DeviceImage): Promise<void>;
  /** After everything local was deleted: what was written before, by stamp, is nobody's any more. */
  forget(stamps: readonly number[]): void;
  close(): Promise<void>;
}

/** A device's file, and what the app on it knows. */
export interface DeviceImage {
  readonly contents: Contents;
  readonly memory: MemoryImage;
  readonly lastNumber: number;
  readonly version: Version;
}

/** Errors that a network, a dying server, a closed or signed-out client, a trimmed or a restored log explain. */
const expected = new Set<SyncErrorCode>([
  "OFFLINE",
  "TIMEOUT",
  "UNAVAILABLE",
  "ABORTED",
  "CLOSED",
  "UNAUTHORIZED",
  "CURSOR_EXPIRED",
  "CURSOR_UNKNOWN",
]);

export interface DeviceOptions {
  readonly name?: string;
  readonly index: number;
  readonly subject: string;
  readonly seed: number;
  readonly circumstances: Circumstances;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly witness: Witness;
  readonly mishaps: Mishaps;
  readonly library: Library;
  /** The step that is running. */
  readonly step: () => number;
  /** A copied file to begin with. */
  readonly image?: DeviceImage;
}

export async function startDevice(options: DeviceOptions): Promise<DeviceNode> {
  const { index, subject, circumstances, witness, image } = options;
  const name = options.name ?? `${subject}'s device`;
  const onDemand = circumstances.onDemand.includes(index);
  const random = createRandom(options.seed);
  let isSlow = true;
  const network = createFaultNetwork(circumstances.bytes ? byteTransport(options.transport) : options.transport, () =>
    isSlow && random.chance(circumstances.slow) ? "hold-request" : undefined,
  );
  const memory = createMemory(name, subject, options.library, image?.memory);
  const unexpected: unknown[] = [];
  const holds = new Map<string, Hold>();
  let skewMs = circumstances.skews[index] ?? 0;
  let version: Version = image?.version ?? (circumstances.old.includes(index) ? 1 : 2);
  const clock: Clock = { ...options.clock, now: () => options.clock.now() + skewMs };
  let database = await openInstalled({ role: "device", policy: circumstances.policy, version }, image?.contents);
  let db: Db;
  let sync: SyncDatabase;
  let client: SyncClient;
  let lastNumber = image?.lastNumber ?? 0;
  let lastCursor: unknown;
  let checked: { readonly database: CrashDatabase; readonly version: number } | undefined;
  /** The state before the next commit, while a transaction of the client's own making is awaited. */
  let awaited: State | undefined;

  const openClient = (): void => {
    const own = database;
    client = createSyncClient({
      db,
      transport: network.transport,
      clock,
      random: random.next,
      randomBytes: (length) => Uint8Array.from({ length }, () => random.int(256)),
      pageRows: circumstances.pageRows,
      hold: onDemand ? "on-demand" : "all",
      keepSentMs: circumstances.keepSentMs,
      verifyRate: circumstances.verifyRate,
      onError: (error: SyncError) => {
        if (!own.hasCrashed && !expected.has(error.code)) unexpected.push(error);
      },
    });
    client.outcomes.subscribe((outcome) => memory.noteTold(outcome, lostNumbers(outcome)));
  };
  const open = async (): Promise<void> => {
    const own = database;
    // `openSync` answers what it was given, captured; the type of its export says only that it is an object.
    db = openSync(
      drizzle(database.handle, { schema: schemaOf(version) }),
      deviceSyncOf(circumstances.policy, version),
      {
        now: () => clock.now(),
      },
    ) as Db;
    sync = syncOf(db);
    openClient();
    // Every page is looked at as it is committed, also when the next one follows at once.
    own.onSettled = () => {
      if (awaited !== undefined) {
        const now = known(readState(own));
        noteWritten(difference(awaited, now), options.step());
        awaited = now;
      }
      const cursor = storedCursor(own);
      if (cursor === lastCursor) return;
      lastCursor = cursor;
      node.check(options.step());
    };
    lastCursor = storedCursor(own);
    await sync.install("device");
  };
  /** The numbers that a report of a loss speaks of. */
  const lostNumbers = ({ id, status }: Outcome): readonly [from: number, to: number] | undefined => {
    if (status !== "lost") return undefined;
    for (const stored of stepSync(observe(database), readOutcomes()))
      if (stored.id === id && stored.outcome.status === "lost") return [stored.outcome.from, stored.outcome.number];
    return undefined;
  };

  /** What strangers wrote; it belongs to the next transaction that is closed. */
  let unclosed: RowChange[] = [];
  let hasUnclosed = false;

  /** Takes note of a transaction that the log has closed since the last look. */
  function noteWritten(own: readonly RowChange[], step: number): void {
    const connection = observe(database);
    const { number, stamp } = stepSync(connection, lastTransaction());
    if (number === lastNumber) return;
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
    memory.noteWritten(stamp, number, step, changes);
  }
  const noteError = (error: unknown): void => {
    if (database.hasCrashed) return;
    if (!isSyncError(error) || !expected.has(error.code)) unexpected.push(error);
  };
  const stop = async (): Promise<void> => {
    memory.crashes++;
    database.crash();
    await client.close().catch(() => undefined);
    network.reset();
    network.cutStream();
    holds.clear();
    awaited = undefined;
  };

  const node: DeviceNode = {
    name,
    subject,
    options,
    network,
    onDemand,
    holds,
    memory,
    unexpected,
    noteError,
    get version() {
      return version;
    },
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
      const before = known(readState(database));
      let state = before;
      const changes: RowChange[] = [];
      try {
        work((statement) => {
          statement();
          const next = known(readState(database));
          changes.push(...difference(state, next));
          state = next;
        });
      } catch (error) {
        if (error instanceof Violation) throw error;
        if (error instanceof Crash || database.hasCrashed) {
          // It may have been committed all the same, and the statement that did so was not observed to its end.
          noteWritten([...changes, ...difference(state, known(readState(database)))], step);
          return "crashed";
        }
        if (isSyncError(error)) unexpected.push(error);
        if (difference(before, known(readState(database))).length > 0)
          unexpected.push(new Error(`A transaction that failed left something behind on ${name}.`));
        return "refused";
      }
      noteWritten(changes, step);
      return "written";
    },
    writeAsStranger(work) {
      const before = known(readState(database));
      try {
        work();
      } catch (error) {
        if (isSyncError(error)) unexpected.push(error);
      }
      database.touch();
      // Also a statement that changed nothing leaves an entry.
      hasUnclosed = stepSync(observe(database), hasUnclosedEntries());
      unclosed.push(...difference(before, known(readState(database))));
      checked = undefined;
    },
    async writeThrough(step, work) {
      if (hasUnclosed) return;
      awaited = known(readState(database));
      try {
        await work();
      } finally {
        if (awaited !== undefined) noteWritten(difference(awaited, known(readState(database))), step);
        awaited = undefined;
      }
    },
    noteClosed() {
      if (hasUnclosed) noteWritten([], options.step());
    },
    upkeep() {
      try {
        void sync.lookForCommits();
      } catch (error) {
        if (!database.hasCrashed) throw error;
      }
    },
    check(step) {
      node.noteClosed();
      // Entries that nobody has closed yet are in no transaction of the queue.
      if (hasUnclosed) return;
      // What was looked at already, and not touched since, is as it was.
      if (checked?.database === database && checked.version === database.version) return;
      checked = { database, version: database.version };
      const { written, givenUp } = memory;
      memory.noteShown(
        checkDevice({ name, database, sync, version, written, givenUp }, witness, options.mishaps),
        step,
      );
    },
    endFaults() {
      isSlow = false;
      network.setDown(false);
      network.release();
      database.crashAfter(undefined);
    },
    setClock(ms) {
      skewMs = ms;
    },
    async restart() {
      await stop();
      database = reopen(database);
      await open();
    },
    async upgrade() {
      await stop();
      database.raw.pragma("foreign_keys = OFF");
      database.raw.exec(`BEGIN; ${migration} COMMIT;`);
      forgetColumns(database);
      version = 2;
      database = reopen(database);
      await open();
    },
    async reopenClient() {
      await client.close().catch(noteError);
      holds.clear();
      openClient();
    },
    image() {
      if (hasUnclosed || database.hasCrashed) return undefined;
      return { contents: readContents(database.raw), memory: memory.image(), lastNumber, version };
    },
    async restore({ contents, memory: before, lastNumber: number }) {
      await stop();
      writeContents(database.raw, contents);
      memory.restore(before);
      lastNumber = number;
      unclosed = [];
      hasUnclosed = false;
      lastCursor = undefined;
      database = reopen(database);
      await open();
    },
    forget(stamps) {
      memory.forget(stamps);
      ({ number: lastNumber } = stepSync(observe(database), lastTransaction()));
    },
    async close() {
      database.crash();
      await client.close().catch(() => undefined);
      giveBack(database);
    },
  };
  await open();
  return node;
}
