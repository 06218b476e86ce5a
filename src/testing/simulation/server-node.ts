/**
 * The simulated server: one database, one service over it, and what happens when its process dies or its backup is restored.
 *
 * @module
 */

import { drizzle, type BetterSQLite3Database } from "drizzle-orm/better-sqlite3";
import type { Transport } from "../../client/transport.ts";
import { transact } from "../../plugin/core.ts";
import { indexTail, trimLog } from "../../plugin/oplog.ts";
import { syncOf } from "../../plugin/sync-database.ts";
import { openSync } from "../../plugin/with-sync.ts";
import { isSyncError, SyncError } from "../../protocol/errors.ts";
import { hashScopes } from "../../protocol/hash.ts";
import type { LiveFrame } from "../../protocol/live.ts";
import type { PullAnswer, PullRequest } from "../../protocol/pull.ts";
import { bindAssign } from "../../server/assign.ts";
import { createSyncService, type SyncCaller, type SyncService } from "../../server/service.ts";
import type { Clock } from "../../client/clock.ts";
import { Crash, reopen, type CrashDatabase } from "../crash-database.ts";
import { inProcessTransport } from "../in-process-transport.ts";
import { readContents, writeContents, type Contents } from "./contents.ts";
import { giveBack, openInstalled } from "./database-image.ts";
import type { Circumstances } from "./plan.ts";
import { createPushes, type Names } from "./pushes.ts";
import { schema, syncOfPolicy } from "./schema.ts";
import { readState } from "./state.ts";
import { Violation } from "./violation.ts";
import { createWitness, type Testimony, type Witness } from "./witness.ts";

export type Db = BetterSQLite3Database<typeof schema>;

export interface ServerNode {
  readonly database: CrashDatabase;
  readonly db: Db;
  readonly witness: Witness;
  /** A transport of a subject's device; it stays usable when the server starts anew. */
  transport(subject: string): Transport;
  /** Scopes granted to a subject now. */
  rights(subject: string): { readonly read: ReadonlySet<string>; readonly write: ReadonlySet<string> };
  /** Starts a new process on what the old one had committed. */
  restart(): Promise<void>;
  /** What the process does from time to time: looks for others' commits, indexes its log. */
  upkeep(indexRows: number): void;
  /** Removes old entries of the log, up to a seq, in one step. */
  trim(upTo: number, rows: number): void;
  /** Moves the server's clock. */
  setClock(skewMs: number): void;
  backup(): ServerBackup;
  /** Puts a backup in the place of everything, under a new process. `forgets`: what it knew of devices is lost, too. */
  restore(backup: ServerBackup, options: { readonly forgets: boolean }): Promise<void>;
  /** Errors that should not have happened. */
  readonly unexpected: unknown[];
  close(): void;
}

export interface ServerBackup {
  readonly contents: Contents;
  readonly testimony: Testimony;
}

/** Tables that hold what the server knows of devices. */
const recordTables = ["_sync_devices", "_sync_outcomes", "_sync_notes", "_sync_rejected_keys"];

export async function startServer(
  { policy, pageRows, pushTransactions, live }: Circumstances,
  clock: Clock,
  names: Names,
  count: (what: string) => void,
): Promise<ServerNode> {
  const definition = syncOfPolicy(policy);
  const unexpected: unknown[] = [];
  let database = await openInstalled({ role: "server", policy, version: 2 });
  const pushes = createPushes(names);
  const witness = createWitness(database, pushes);
  let skewMs = 0;
  const now = (): number => clock.now() + skewMs;
  let db: Db;
  let service: SyncService;
  const transports = new Map<string, Transport>();

  const open = async (): Promise<void> => {
    // `openSync` answers what it was given, captured; the type of its export says only that it is an object.
    db = openSync(drizzle(database.handle, { schema }), definition, { now }) as Db;
    const sync = syncOf(db);
    await sync.install("server");
    service = createSyncService({
      database: sync,
      limits: { maxPageRows: pageRows, maxPushTransactions: pushTransactions },
      scopesDependOn: new Set(["grants"]),
      heartbeatMs: 1e9,
      // The run decides when the log is trimmed; work in the background would not replay.
      retention: { maxAgeMs: Infinity, maxEntries: Infinity },
      onError: (error) => {
        if (!isOfCrash(error)) unexpected.push(error);
      },
    });
    witness.attach(database);
    database.onSettled = () => witness.look();
  };

  const rights = (subject: string): { read: Set<string>; write: Set<string> } => {
    const own = [...readState(database).values()].filter(
      ({ table, cells }) => table === "grants" && cells["subject"] === subject,
    );
    const granted = (column: string): string[] =>
      own.filter(({ cells }) => cells[column] === 1).map(({ cells }) => String(cells["scope"]));
    return { read: new Set([`grantee:${subject}`, ...granted("read")]), write: new Set(granted("write")) };
  };
  const callerOf = (subject: string): SyncCaller => {
    const assign = bindAssign(syncOf(db), { todos: () => ({ owner: subject }) }, { ctx: {}, subject });
    return {
      subject,
      scopes: () => Promise.resolve(rights(subject)),
      ...(assign ? { assign } : {}),
    };
  };
  const innerOf = (subject: string): Transport => {
    let transport = transports.get(subject);
    if (transport === undefined) {
      transport = inProcessTransport({
        service: () => service,
        caller: () => callerOf(subject),
        ...(live === "none" ? {} : { live }),
      });
      transports.set(subject, transport);
    }
    return transport;
  };
  const isOfCrash = (error: unknown): boolean =>
    error instanceof Crash ||
    (error instanceof Error && error.cause !== undefined && isOfCrash(error.cause)) ||
    database.hasCrashed;
  /** A dead process answers nothing; whatever else is thrown without a code is a bug. */
  const failure = (error: unknown): unknown => {
    if (isOfCrash(error)) return new SyncError({ code: "UNAVAILABLE", message: "The server is down.", cause: error });
    if (!isSyncError(error)) unexpected.push(error);
    return error;
  };
  const targetOf = (subject: string, { wanted, round }: PullRequest): readonly string[] => {
    const { read } = rights(subject);
    return round?.scopes ?? (wanted ?? [...read]).filter((scope) => read.has(scope));
  };
  /** `targets`: what the request may have been answered for; an answer that names no scopes means the one held (rule U4). */
  const checkAccess = (
    subject: string,
    answer: PullAnswer | LiveFrame,
    by: string,
    { held }: PullRequest,
    targets: readonly (readonly string[])[],
  ): void => {
    if (answer.kind === "heartbeat") return;
    count(
      answer.kind === "page"
        ? `${by} ${answer.to === undefined ? "parts of a round" : "pages"}`
        : `${by} ${answer.kind}`,
    );
    if (answer.kind !== "page") return;
    const { read } = rights(subject);
    const heldHash = typeof held === "string" ? held : hashScopes(held);
    const scopes = answer.scopes ?? targets.find((target) => hashScopes(target) === heldHash);
    if (scopes === undefined) {
      unexpected.push(new Violation("access", `${subject} was answered as if it held what it does not.`));
      return;
    }
    const foreign = scopes.filter((scope) => !read.has(scope));
    if (foreign.length > 0)
      unexpected.push(new Violation("access", `${subject} was given ${foreign.join(", ")} without the right.`));
  };
  const guarded = async <T>(call: () => Promise<T>): Promise<T> => {
    try {
      const answer = await call();
      if (database.hasCrashed) throw new Crash();
      return answer;
    } catch (error) {
      throw failure(error);
    }
  };

  await open();
  return {
    get database() {
      return database;
    },
    get db() {
      return db;
    },
    witness,
    rights,
    unexpected,
    transport: (subject) => ({
      handshake: (request, options) => guarded(() => innerOf(subject).handshake(request, options)),
      push: (request, options) =>
        guarded(async () => {
          const done = pushes.begin(request);
          try {
            const answer = await innerOf(subject).push(request, options);
            count(`push ${answer.kind}`);
            return answer;
          } finally {
            done();
          }
        }),
      pull: (request, options) =>
        guarded(async () => {
          const target = targetOf(subject, request);
          const answer = await innerOf(subject).pull(request, options);
          checkAccess(subject, answer, "pulled", request, [target, targetOf(subject, request)]);
          return answer;
        }),
      ...(live !== "none"
        ? {
            liveKind: live,
            async *live(request, options) {
              const target = targetOf(subject, request);
              try {
                for await (const frame of innerOf(subject).live?.(request, options) ?? []) {
                  checkAccess(subject, frame, "streamed", request, [target, targetOf(subject, request)]);
                  yield frame;
                }
              } catch (error) {
                throw failure(error);
              }
            },
          }
        : {}),
    }),
    async restart() {
      service.close();
      database = reopen(database);
      await open();
    },
    upkeep(indexRows) {
      const sync = syncOf(db);
      try {
        void sync.lookForCommits();
        if (indexRows > 0 && sync.connection.kind === "sync")
          transact(sync.connection, "write", () => indexTail(sync, indexRows));
      } catch (error) {
        if (!isOfCrash(error)) throw error;
      }
    },
    trim(upTo, rows) {
      const sync = syncOf(db);
      try {
        if (sync.connection.kind === "sync") transact(sync.connection, "write", () => trimLog(sync, upTo, rows));
      } catch (error) {
        if (!isOfCrash(error)) throw error;
      }
    },
    setClock(ms) {
      skewMs = ms;
    },
    backup: () => ({ contents: readContents(database.raw), testimony: witness.backup() }),
    async restore({ contents, testimony }, { forgets }) {
      service.close();
      database.crash();
      writeContents(database.raw, contents);
      if (forgets) for (const table of recordTables) database.raw.exec(`DELETE FROM ${table}`);
      database = reopen(database);
      witness.attach(database);
      witness.restore(testimony);
      await open();
    },
    close() {
      service.close();
      giveBack(database);
    },
  };
}
