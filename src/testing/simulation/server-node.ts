/**
 * The simulated server: one database, one service over it, and what happens when its process dies.
 *
 * @module
 */

import { drizzle, type BetterSQLite3Database } from "drizzle-orm/better-sqlite3";
import type { Transport } from "../../client/transport.ts";
import { transact } from "../../plugin/core.ts";
import { indexTail } from "../../plugin/oplog.ts";
import { syncOf } from "../../plugin/sync-database.ts";
import { openSync } from "../../plugin/with-sync.ts";
import { isSyncError, SyncError } from "../../protocol/errors.ts";
import type { LiveFrame } from "../../protocol/live.ts";
import type { PullAnswer } from "../../protocol/pull.ts";
import { bindAssign } from "../../server/assign.ts";
import { createSyncService, type SyncCaller, type SyncService } from "../../server/service.ts";
import type { Clock } from "../../client/clock.ts";
import { Crash, openCrashDatabase, reopen, type CrashDatabase } from "../crash-database.ts";
import { inProcessTransport } from "../in-process-transport.ts";
import { imageOf } from "./database-image.ts";
import type { Circumstances } from "./plan.ts";
import { schema, syncOfPolicy } from "./schema.ts";
import { Violation } from "./violation.ts";
import { createWitness, type Witness } from "./witness.ts";

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
  /** Errors that should not have happened. */
  readonly unexpected: unknown[];
  close(): void;
}

export async function startServer(
  { policy, pageRows, pushTransactions, live }: Circumstances,
  clock: Clock,
  count: (what: string) => void,
): Promise<ServerNode> {
  const definition = syncOfPolicy(policy);
  const unexpected: unknown[] = [];
  let database = openCrashDatabase(await imageOf("server", policy));
  const witness = createWitness(database);
  let db: Db;
  let service: SyncService;
  const transports = new Map<string, Transport>();

  const open = async (): Promise<void> => {
    // `openSync` answers what it was given, captured; the type of its export says only that it is an object.
    db = openSync(drizzle(database.handle, { schema }), definition, { now: () => clock.now() }) as Db;
    const sync = syncOf(db);
    await sync.install("server");
    service = createSyncService({
      database: sync,
      limits: { maxPageRows: pageRows, maxPushTransactions: pushTransactions },
      scopesDependOn: new Set(["grants"]),
      heartbeatMs: 1e9,
      onError: (error) => {
        if (!isOfCrash(error)) unexpected.push(error);
      },
    });
    witness.attach(database);
    database.onSettled = () => witness.look();
  };

  const rights = (subject: string): { read: Set<string>; write: Set<string> } => {
    const rows = database.raw.prepare("SELECT scope, read, write FROM grants WHERE subject = ?").raw().all(subject) as [
      string,
      number,
      number,
    ][];
    return {
      read: new Set([`grantee:${subject}`, ...rows.filter(([, read]) => read === 1).map(([scope]) => scope)]),
      write: new Set(rows.filter(([, , write]) => write === 1).map(([scope]) => scope)),
    };
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
  const checkAccess = (subject: string, answer: PullAnswer | LiveFrame, by: string): void => {
    if (answer.kind === "heartbeat") return;
    count(
      answer.kind === "page"
        ? `${by} ${answer.to === undefined ? "parts of a round" : "pages"}`
        : `${by} ${answer.kind}`,
    );
    if (answer.kind !== "page") return;
    const { read } = rights(subject);
    const foreign = answer.scopes.filter((scope) => !read.has(scope));
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
          const answer = await innerOf(subject).push(request, options);
          count(`push ${answer.kind}`);
          return answer;
        }),
      pull: (request, options) =>
        guarded(async () => {
          const answer = await innerOf(subject).pull(request, options);
          checkAccess(subject, answer, "pulled");
          return answer;
        }),
      ...(live !== "none"
        ? {
            liveKind: live,
            async *live(request, options) {
              try {
                for await (const frame of innerOf(subject).live?.(request, options) ?? []) {
                  checkAccess(subject, frame, "streamed");
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
    close() {
      service.close();
      database.crash();
      database.raw.close();
    },
  };
}
