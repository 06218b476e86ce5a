/**
 * The worker's connection as the sync engine sees it. The engine shares the connection with interactive transactions of
 * pages, so each of its transactions waits for its turn; once inside, every statement answers at once and nothing comes in
 * between.
 *
 * @module
 */

import type { AsyncConnection, Rows } from "../../plugin/core.ts";
import { transactAsync } from "../../plugin/sqlite/transactions.ts";
import type { Gate } from "./gate.ts";
import type { WorkerConnection } from "./sqlite/connection.ts";

/** Wraps a connection so that transactions and single statements take turns. `onCommit` follows every write. */
export function createGatedConnection(connection: WorkerConnection, gate: Gate, onCommit: () => void): AsyncConnection {
  const inside: AsyncConnection = {
    kind: "async",
    all: async (sql, params): Promise<Rows> => connection.all(sql, params),
    run: async (sql, params) => connection.run(sql, params),
    each: async (sql, rows) => connection.each(sql, rows),
    transaction: () => Promise.reject(new Error("Transactions of the sync engine are never nested.")),
  };
  return {
    kind: "async",
    all: (sql, params): Promise<Rows> => gate.run(() => connection.all(sql, params)),
    run: (sql, params) => gate.run(() => told(() => connection.run(sql, params))),
    each: (sql, rows) => gate.run(() => told(() => connection.transaction("write", () => connection.each(sql, rows)))),
    transaction: async (mode, body) => {
      const release = await gate.take();
      try {
        const result = await transactAsync(connection.parts, mode, () => body(inside));
        if (mode !== "read") onCommit();
        return result;
      } catch (error) {
        connection.dropWritten();
        throw error;
      } finally {
        release();
      }
    },
  };

  function told<T>(work: () => T): T {
    const result = work();
    onCommit();
    return result;
  }
}
