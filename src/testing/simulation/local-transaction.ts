/**
 * What the oracles remember of a transaction that was written on a device.
 *
 * @module
 */

import type { RowChange } from "./state.ts";

export interface LocalTransaction {
  readonly stamp: number;
  /** The number it had when it was written; it keeps it. */
  readonly number: number;
  /** The step of the run in which it was written. */
  readonly step: number;
  /** What each of its statements changed, in order. */
  readonly changes: readonly RowChange[];
  /** Who wrote it. */
  readonly device: string;
  readonly subject: string;
  /** The step in which its device first showed a value, if it ever did. */
  seenAt(id: string, column: string, value: string): number | undefined;
}
