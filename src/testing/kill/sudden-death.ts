/**
 * Kills this process at a chosen statement, commit, request or answer: what a kill from outside, which comes when it comes, hits too seldom.
 * No handler runs, nothing is flushed; to the files it is the same `SIGKILL`.
 *
 * A transaction that should have been one shows only to who dies between its parts, and so does everything else that a
 * crash may find: between two commits nothing changes on the disk. So most kills come right after a commit, before
 * anybody was told of it.
 *
 * @module
 */

import type Database from "better-sqlite3";

/** When to die. */
export interface DeathOrder {
  /** `statement`: before one; `commit`: right after one; the others: at a {@link SuddenDeath.pass}. */
  readonly unit: "statement" | "commit" | "begin" | "request" | "answer";
  /** The how manyth from now on, or from `after` on. */
  readonly count: number;
  /** A regular expression: counts from the first statement on that fits. @default from now on */
  readonly after?: string | undefined;
}

/** Counts the statements and commits of some connections, and what else happens. */
export interface SuddenDeath {
  /** Lets a connection count; called before anything else is done with it. */
  watch(database: Database.Database): void;
  /** Something else has happened. */
  pass(unit: Exclude<DeathOrder["unit"], "statement" | "commit">): void;
  order(order: DeathOrder): void;
}

/** Creates a counter without an order. */
export function createSuddenDeath(): SuddenDeath {
  let left = Number.POSITIVE_INFINITY;
  let unit: DeathOrder["unit"] = "statement";
  let after: RegExp | undefined;
  const tick = (what: DeathOrder["unit"]): void => {
    if (after === undefined && what === unit && --left <= 0) process.kill(process.pid, "SIGKILL");
  };
  return {
    watch(database) {
      let isOpen = false;
      // The driver's own `transaction` commits by itself; that shows at the next statement.
      const look = (): void => {
        if (isOpen && !database.inTransaction) tick("commit");
        isOpen = database.inTransaction;
      };
      const prepare = database.prepare.bind(database);
      database.prepare = ((source: string) => {
        const statement = prepare(source);
        for (const method of ["run", "all", "get", "iterate"] as const) {
          const execute = statement[method].bind(statement) as (...values: unknown[]) => unknown;
          Object.defineProperty(statement, method, {
            value: (...values: unknown[]) => {
              look();
              if (after?.test(source)) after = undefined;
              tick("statement");
              const result = execute(...values);
              look();
              return result;
            },
          });
        }
        return statement;
      }) as typeof database.prepare;
    },
    pass: tick,
    order(order) {
      after = order.after === undefined ? undefined : new RegExp(order.after);
      unit = order.unit;
      left = order.count;
    },
  };
}
