/**
 * What the processes of the kill test share: the configuration that the supervisor hands over, the marks by which it times
 * its kills, the orders it gives, and the loop that writes.
 *
 * @module
 */

import { createHash } from "node:crypto";
import type Database from "better-sqlite3";
import { openHistoryLog, readHistoryLog, type Effect, type HistoryLog } from "../history/events.ts";
import { createRandom, type Random } from "../random.ts";
import { createSuddenDeath, type DeathOrder } from "./sudden-death.ts";
import { writeTransaction } from "./workload.ts";

/** What a process is started with. */
export interface ProcessConfig {
  readonly name: string;
  /** The database. */
  readonly file: string;
  /** The history. */
  readonly log: string;
  readonly port: number;
  readonly seed: number;
  /** How often it was started before. */
  readonly life: number;
  /** The mean time between two transactions, in milliseconds. */
  readonly pauseMs: number;
  /** How many entries the server's log keeps: few, so that it is trimmed all the while, and who was away is reset. */
  readonly maxEntries: number;
  /** When it is to die, counted from its start. @default not by itself */
  readonly death?: DeathOrder | undefined;
}

/** Moments at which a kill is worth while; the supervisor kills some milliseconds after one. */
export type Mark = "ready" | "begin" | "request" | "answer";

/** `settle`: write no more, and get rid of the queue. `finish`: look once more, say what is there, and end. */
export type Order = "settle" | "finish";

/** What a process tells its supervisor. */
export type Notice = { readonly mark: Mark } | { readonly done: Order };

/** A process under supervision. */
export interface Supervised {
  readonly config: ProcessConfig;
  readonly log: HistoryLog;
  readonly random: Random;
  mark(mark: Mark): void;
  done(order: Order): void;
  onOrder(obey: (order: Order) => Promise<void>): void;
  /** Lets a connection's statements and commits count for a {@link DeathOrder}. */
  watch(database: Database.Database): void;
  /** Whether it still makes up transactions: until the first order. */
  readonly isWriting: boolean;
  /** The transaction that the last kill left in doubt. */
  readonly inDoubt: string | undefined;
  /** Executes one transaction, its beginning and end in the log. `open` runs a function inside a database transaction. */
  write(database: Database.Database, open: (body: () => void) => void): void;
}

/** Sets up a process that the supervisor forked. */
export function supervised(): Supervised {
  const config = JSON.parse(process.argv[2] ?? "") as ProcessConfig;
  const before = readHistoryLog(config.log);
  let n = 0;
  let inDoubt: string | undefined;
  let isWriting = true;
  for (const event of before) {
    if (event.kind === "begin") ({ n, tx: inDoubt } = event);
    else if (event.kind === "committed" || event.kind === "aborted" || event.kind === "found") inDoubt = undefined;
  }
  const log = openHistoryLog(config.log);
  const digest = createHash("sha256").update(`${config.seed} ${config.name} ${config.life}`).digest();
  const random = createRandom(digest.readUInt32LE(0));
  const death = createSuddenDeath();
  if (config.death) death.order(config.death);
  const tell = (notice: Notice): void => void process.send?.(notice);
  const mark = (what: Mark): void => {
    if (what !== "ready") death.pass(what);
    tell({ mark: what });
  };

  process.on("uncaughtException", (error) => {
    log.write({ kind: "failed", message: error.stack ?? error.message });
    process.exit(1);
  });
  // Without its supervisor nobody would ever end it.
  process.on("disconnect", () => process.exit(0));
  log.write({ kind: "start" });
  return {
    config,
    log,
    random,
    inDoubt,
    mark,
    done: (order) => tell({ done: order }),
    get isWriting() {
      return isWriting;
    },
    watch: (database) => death.watch(database),
    onOrder: (obey) =>
      process.on("message", (order: Order | DeathOrder) => {
        if (typeof order === "object") return death.order(order);
        isWriting = false;
        void obey(order);
      }),
    write(database, open) {
      const tx = `${config.name}-${++n}`;
      try {
        open(() => {
          const effects: readonly Effect[] = writeTransaction(database, random, { tx, author: config.name, n });
          log.write({ kind: "begin", tx, n, effects });
          mark("begin");
        });
        log.write({ kind: "committed", tx });
      } catch (error) {
        if (!isConstraint(error)) throw error;
        log.write({ kind: "aborted", tx });
      }
    },
  };
}

/** A wait between two transactions: exponential, so that some come at once. */
export function pause({ random, config }: Supervised): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, -Math.log(1 - random.next()) * config.pauseMs));
}

function isConstraint(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if ("code" in cause && String(cause.code).startsWith("SQLITE_CONSTRAINT")) return true;
  return false;
}
