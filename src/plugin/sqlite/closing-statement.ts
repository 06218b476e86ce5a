/**
 * The marker as one statement that decides by itself whether there is anything to close: for drivers that take a batch and let
 * nobody look in between.
 *
 * @module
 */

import { hlcNow, hlcPerMilli } from "../../protocol/hlc.ts";
import { knownHash } from "../known-tables.ts";
import { LOG, MARKER, META, STAMP_SQL, metaKeys } from "../names.ts";
import type { SyncDatabase } from "../sync-database.ts";

/** The statement that closes what is open, to be run as the last one of a transaction. */
export function closingStatement(sync: SyncDatabase): {
  readonly sql: string;
  readonly args: readonly (bigint | string)[];
} {
  const isOpen = `(SELECT t FROM ${LOG} ORDER BY seq DESC LIMIT 1) <> ${MARKER}`;
  const now = BigInt(hlcNow(0, sync.now()));
  if (sync.role !== "device") {
    return {
      sql: `INSERT INTO ${LOG}(stamp, t, kind, mask) SELECT ${STAMP_SQL}, ${MARKER}, 0, ? WHERE ${isOpen}`,
      args: [now],
    };
  }
  const last = (field: string): string => `(SELECT ${field} FROM ${LOG} WHERE t = ${MARKER} ORDER BY seq DESC LIMIT 1)`;
  const dropped = `(SELECT json_extract(v, '$[0]') FROM ${META} WHERE k = '${metaKeys.dropped}')`;
  // P11: by the server's clock, as far as it is known.
  const clock = `coalesce((SELECT CAST(v AS INTEGER) FROM ${META} WHERE k = '${metaKeys.clock}'), 0) * ${hlcPerMilli}`;
  return {
    sql:
      `INSERT INTO ${LOG}(stamp, t, kind, mask, k0, c0) SELECT ${STAMP_SQL}, ${MARKER}, 0, max(? + ${clock}, coalesce(${last("mask + 1")}, 0)), ` +
      `coalesce(${last("k0")}, ${dropped}, 0) + 1, ? WHERE ${isOpen}`,
    args: [now, knownHash(sync.tables)],
  };
}
