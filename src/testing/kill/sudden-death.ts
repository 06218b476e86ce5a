/**
 * Kills this process between two statements: what a kill from outside, which comes when it comes, hits too seldom. No handler
 * runs, nothing is flushed; to the files it is the same `SIGKILL`.
 *
 * @module
 */

import type Database from "better-sqlite3";

/** Counts the statements of some connections. */
export interface SuddenDeath {
  /** Lets a connection's statements count; called before anything else is done with it. */
  watch(database: Database.Database): void;
  /** Dies before the statement that comes as the `count`th from now on. */
  dieBefore(count: number): void;
}

/** Creates a counter that is not armed. */
export function createSuddenDeath(): SuddenDeath {
  let left = Number.POSITIVE_INFINITY;
  const tick = (): void => {
    if (--left <= 0) process.kill(process.pid, "SIGKILL");
  };
  return {
    watch(database) {
      const prepare = database.prepare.bind(database);
      database.prepare = ((source: string) => {
        const statement = prepare(source);
        for (const method of ["run", "all", "get", "iterate"] as const) {
          const execute = statement[method].bind(statement) as (...values: unknown[]) => unknown;
          Object.defineProperty(statement, method, {
            value: (...values: unknown[]) => {
              tick();
              return execute(...values);
            },
          });
        }
        return statement;
      }) as typeof database.prepare;
    },
    dieBefore(count) {
      left = count;
    },
  };
}
