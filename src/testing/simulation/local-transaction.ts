/**
 * What the oracle remembers of a transaction that was written on a device.
 *
 * @module
 */

import type { RowChange } from "./state.ts";

export interface LocalTransaction {
  readonly stamp: number;
  /** The number it had when it was written. */
  readonly number: number;
  /** The step of the run in which it was written. */
  readonly step: number;
  /** What each of its statements changed, in order. */
  readonly changes: readonly RowChange[];
}
