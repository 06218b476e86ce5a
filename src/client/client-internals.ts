/**
 * What the hooks need of a client beyond its public interface: where live queries get their rows, and what a table is
 * called.
 *
 * @module
 */

import type { Table } from "drizzle-orm";
import type { LiveSource } from "./live-source.ts";

/** The internal side of a client. */
export interface ClientInternals {
  readonly liveSource: LiveSource;
  /** The table's key in the schema of the definition. */
  keyOfTable(table: Table): string | undefined;
  /** Calls back when the list of outcomes may be another one. Unlike `outcomes.subscribe` it counts none as told. */
  onOutcomesChanged(listener: () => void): () => void;
}

const internals = new WeakMap<object, ClientInternals>();

/** Attaches the internal side to a client. */
export function attachInternals(client: object, side: ClientInternals): void {
  internals.set(client, side);
}

/** The internal side of a client made by `createSyncClient`. */
export function internalsOf(client: object): ClientInternals | undefined {
  return internals.get(client);
}
