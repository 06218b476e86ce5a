/**
 * Writes down what became of a device's transactions, in the database transaction that holds their effects: outcomes (P10),
 * notes (P5) and the keys of refused inserts (P8).
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import { bounds } from "../protocol/bounds.ts";
import type { DeviceId } from "../protocol/ids.ts";
import type { Outcome } from "../protocol/outcome.ts";
import type { PushTransaction } from "../protocol/push.ts";
import type { Verdict } from "./apply.ts";
import { type LiveRows, readLiveRows } from "./live-rows.ts";
import { foldOperations, type Net } from "./net.ts";
import type { Refusal, RowOperation } from "./operations.ts";
import { forgetRejectedKeys, writeNotes, writeOutcome, writeRejectedKeys } from "./outcomes.ts";
import type { Rights } from "./scopes.ts";
import { serverVersion } from "./settle.ts";

/** Records the transactions of one group. */
export interface Recorder {
  /** Whether the device has any notes. */
  readonly hasNotes: boolean;
  /** Whether there are rows whose insert by this device was refused. */
  readonly hasRejected: boolean;
  /** A transaction that is in the database now, as written or merged. */
  keep(tx: PushTransaction, verdict: Extract<Verdict, { kind: "applied" }>): Core<void>;
  /** A transaction that is refused for good. `live`: its rows, if they were read. */
  refuse(tx: PushTransaction, operations: readonly RowOperation[], refusal: Refusal, live: LiveRows): Core<void>;
}

/** Creates the recorder of a group. `before`: what the device has of earlier ones. */
export function createRecorder(
  device: { readonly deviceId: DeviceId; readonly rights: Rights },
  before: { readonly hasNotes: boolean; readonly hasRejected: boolean },
): Recorder {
  const { deviceId, rights } = device;
  let isNoted = before.hasNotes;
  let isRejected = before.hasRejected;
  return {
    get hasNotes() {
      return isNoted;
    },
    get hasRejected() {
      return isRejected;
    },
    *keep(tx, { conflicts, notes, inserted }) {
      if (conflicts.length > 0)
        yield* writeOutcome(deviceId, { status: "merged", number: tx.number, stamp: tx.stamp, conflicts });
      if (notes.length > 0) yield* writeNotes(deviceId, tx.number, notes);
      isNoted ||= notes.length > 0;
      // A row that is there after all depends on nothing any more.
      if (isRejected) yield* forgetRejectedKeys(deviceId, inserted.map(rowOf));
    },
    *refuse(tx, operations, refusal, live) {
      yield* writeOutcome(deviceId, yield* describe(tx, operations, refusal, live, rights));
      const inserts = [...foldOperations(operations).values()].filter((net) => net.kind === "insert");
      yield* writeRejectedKeys(deviceId, tx.number, inserts.map(rowOf));
      isRejected ||= inserts.length > 0;
    },
  };
}

function rowOf({ table, keyText }: Net): { readonly table: string; readonly rowKey: string } {
  return { table: table.key, rowKey: keyText };
}

/** The outcome of a refusal, with the server's version of the row concerned if the subject may read it (rule P9). */
function* describe(
  tx: PushTransaction,
  operations: readonly RowOperation[],
  refusal: Refusal,
  live: LiveRows,
  rights: Rights,
): Core<Outcome> {
  const { code, message, cause } = refusal;
  const rejected = {
    status: "rejected" as const,
    number: tx.number,
    stamp: tx.stamp,
    code,
    // Some are the app's words.
    message: message.slice(0, bounds.message),
    ...(cause === undefined ? {} : { cause }),
  };
  const operation = refusal.index === undefined ? undefined : operations.find((each) => each.index === refusal.index);
  if (operation === undefined) return rejected;
  const { index, kind, table, key, known } = operation;
  const rows = live.size > 0 ? live : yield* readLiveRows([operation]);
  const server = serverVersion(rights.read, known, rows.get(operation.row));
  return {
    ...rejected,
    operation: { index, kind, table: table.key, key, ...(server === undefined ? {} : { server }) },
  };
}
