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
import { stepSync } from "../../plugin/core.ts";
import { lastIfClosed, lastTransaction, readTransactions } from "../../plugin/device-log.ts";
import { syncOf, type SyncDatabase } from "../../plugin/sync-database.ts";
import { openSync } from "../../plugin/with-sync.ts";
import { isSyncError, type SyncError, type SyncErrorCode } from "../../protocol/errors.ts";
import { byteTransport } from "../byte-transport.ts";
import { Crash, reopen, type CrashDatabase } from "../crash-database.ts";
import { createFaultNetwork, type FaultNetwork } from "../fault-network.ts";
import { createRandom } from "../random.ts";
import { checkDevice, storedCursor } from "./check-device.ts";
import { readContents, writeContents } from "./contents.ts";
import { giveBack, openInstalled } from "./database-image.ts";
import type { DeviceNode, DeviceOptions } from "./device.ts";
import { createMemory } from "./memory.ts";
import type { Names } from "./pushes.ts";
import { observe } from "./observe.ts";
import { deviceSyncOf, migration, schemaOf, type Version } from "./schema.ts";
import type { Db } from "./server-node.ts";
import { difference, forgetColumns, known, readState, inOrder, type RowChange, type State } from "./state.ts";
import { Violation } from "./violation.ts";

/** Takes note of the stamps that transactions are sent with after an earlier one was discarded. */
function noteNames({ raw }: CrashDatabase, names: Names): void {
  const renamed = raw.prepare("SELECT stamp, o0 FROM _sync_log WHERE t = 0 AND o0 IS NOT NULL").raw().all();
  for (const [stamp, written] of renamed as [number, number][]) names.set(stamp, written);
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

export async function startDevice(options: DeviceOptions): Promise<DeviceNode> {
  const { index, subject, circumstances, witness, image } = options;
  const name = options.name ?? `${subject}'s device`;
  const onDemand = circumstances.onDemand.includes(index);
  const random = createRandom(options.seed);
  let isSlow = true;
  const transport = circumstances.bytes ? byteTransport(options.transport) : options.transport;
  const network = createFaultNetwork(transport, () =>
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
  /** The client of another tab, with a network of its own. */
  let beside: { readonly client: SyncClient; readonly network: FaultNetwork } | undefined;
  let lastNumber = image?.lastNumber ?? 0;
  let lastCursor: unknown;
  let checked: { readonly database: CrashDatabase; readonly version: number } | undefined;
  /** The state before the next commit, while a transaction of the client's own making is awaited. */
  let awaited: State | undefined;
  /** Rows that it writes only after it has deleted others. */
  let writtenAfterDeletes: ReadonlySet<string> = new Set();
  const noteAwaited = (before: State, after: State): void => {
    noteWritten(inOrder(before, after, difference(before, after), writtenAfterDeletes), options.step());
  };

  const createClient = (own: CrashDatabase, over: FaultNetwork): SyncClient => {
    const made = createSyncClient({
      db,
      transport: over.transport,
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
    made.outcomes.subscribe((outcome) => memory.noteTold(outcome, lostNumbers(outcome)));
    return made;
  };
  const openClient = (): void => {
    client = createClient(database, network);
  };
  const closeBeside = async (): Promise<void> => {
    const closing = beside;
    beside = undefined;
    await closing?.client.close().catch(noteError);
  };
  const open = async (): Promise<void> => {
    const own = database;
    noteWiped();
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
        noteAwaited(awaited, now);
        awaited = now;
      }
      if (memory.givenUp.size > 0) noteNames(own, options.names);
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

  /** A wipe has begun that nobody was told the end of. */
  let isWiping = false;

  /** What strangers wrote; it belongs to the next transaction that is closed. */
  let unclosed: RowChange[] = [];
  let hasUnclosed = false;

  /** Takes note of a transaction that the log has closed since the last look. */
  function noteWritten(own: readonly RowChange[], step: number): void {
    const connection = observe(database);
    const { number } = stepSync(connection, lastTransaction());
    if (number === lastNumber) return;
    const found = stepSync(connection, readTransactions(sync, { after: lastNumber, limit: 10 }));
    if (found.length !== 1 || found[0]?.number !== lastNumber + 1) {
      unexpected.push(
        new Error(`One transaction of ${name} became ${found.map((transaction) => transaction.number).join(", ")}.`),
      );
    }
    lastNumber = number;
    const { id } = found.at(-1) ?? { id: 0 };
    const changes = [...unclosed, ...own];
    unclosed = [];
    hasUnclosed = false;
    memory.noteWritten(id, number, step, changes);
  }
  /** After everything local was deleted: what was written before is nobody's any more. */
  function forget(): void {
    memory.forget();
    isWiping = false;
    lastNumber = stepSync(observe(database), lastTransaction()).number;
  }
  /** A process may die, and a client be closed, after a wipe was committed and before it was answered. */
  function noteWiped(): void {
    if (isWiping && stepSync(observe(database), lastTransaction()).number < lastNumber) forget();
    isWiping = false;
  }
  const noteError = (error: unknown): void => {
    if (database.hasCrashed) return;
    if (!isSyncError(error) || !expected.has(error.code)) unexpected.push(error);
  };
  const stop = async (): Promise<void> => {
    memory.noteCrash();
    database.crash();
    await client.close().catch(() => undefined);
    await closeBeside();
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
      hasUnclosed = stepSync(observe(database), lastIfClosed()) === undefined;
      unclosed.push(...difference(before, known(readState(database))));
      checked = undefined;
    },
    async writeThrough(work, afterDeletes) {
      if (hasUnclosed) return;
      awaited = known(readState(database));
      writtenAfterDeletes = afterDeletes;
      try {
        await work();
      } finally {
        if (awaited !== undefined) noteAwaited(awaited, known(readState(database)));
        awaited = undefined;
      }
    },
    noteClosed() {
      if (hasUnclosed) noteWritten([], options.step());
    },
    syncBeside() {
      if (beside === undefined) {
        const own = createFaultNetwork(transport);
        beside = { client: createClient(database, own), network: own };
      }
      // Its answer comes late: what it meets is what the first client has done meanwhile.
      beside.network.fail("hold-answer", random.chance(0.7) ? "pull" : undefined);
      if (random.chance(0.3)) beside.client.start();
      else beside.client.sync().catch(noteError);
    },
    release() {
      network.release();
      beside?.network.release();
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
    async endFaults() {
      await closeBeside();
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
      await closeBeside();
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
    async signOut(choice) {
      const own = database;
      isWiping = choice.wipe;
      try {
        await client.signOut(choice);
        if (choice.wipe) forget();
      } catch (error) {
        if (!own.hasCrashed) noteWiped();
        throw error;
      }
    },
    async close() {
      database.crash();
      await closeBeside();
      await client.close().catch(() => undefined);
      giveBack(database);
    },
  };
  await open();
  return node;
}
