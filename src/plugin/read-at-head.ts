/**
 * Reads what ends at the newest entry of the log: a page, a cursor. A cursor stands on an entry's stamp (rule I2), and
 * triggers give none: it is given when somebody first stands there, in a short transaction that writes. Behind a
 * transaction of ours nothing is to be done, since its marker has a stamp; what is left are commits of connections that
 * do not know us.
 *
 * @module
 */

import { transact, type Connection, type Core, type SyncConnection } from "./core.ts";
import { isUnstampedHead, stampHead } from "./oplog.ts";

/** Others may write between a stamp and the next snapshot; then both are had in one transaction. */
const attempts = 3;

/** Runs a core that asks for the head, in one read snapshot, or in a transaction that writes where others write all the time. */
export function readAtHead<T>(connection: SyncConnection, core: () => Core<T>): T;
export function readAtHead<T>(connection: Connection, core: () => Core<T>): T | Promise<T>;
export function readAtHead<T>(connection: Connection, core: () => Core<T>): T | Promise<T> {
  function* stamped(): Core<T> {
    yield* stampHead();
    return yield* core();
  }
  if (connection.kind === "async") return readAsync(connection, core, stamped);
  for (let attempt = 0; attempt < attempts; attempt++) {
    try {
      return transact(connection, "read", core);
    } catch (error) {
      if (!isUnstampedHead(error)) throw error;
      transact(connection, "write", stampHead);
    }
  }
  return transact(connection, "write", stamped);
}

async function readAsync<T>(connection: Connection, core: () => Core<T>, stamped: () => Core<T>): Promise<T> {
  for (let attempt = 0; attempt < attempts; attempt++) {
    try {
      return await transact(connection, "read", core);
    } catch (error) {
      if (!isUnstampedHead(error)) throw error;
      await transact(connection, "write", stampHead);
    }
  }
  return await transact(connection, "write", stamped);
}
