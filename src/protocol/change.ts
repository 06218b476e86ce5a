/**
 * Row changes as they travel from the server to a device: columnar. A page is a list of groups; a group has one table,
 * one kind, one set of columns, and one array of values for each column. Reading a group row by row means reading the
 * same index in each array.
 *
 * @module
 */

import type { Value } from "./ids.ts";

/**
 * `row`: whole rows, to be inserted or overwritten. `update`: some columns of rows that the device has; ignored where
 * it has not (rule A2). `removal`: rows that left the device's scopes or are gone.
 */
export type ChangeKind = "row" | "update" | "removal";

/** Changes of one table, of one kind, with the same columns. */
export interface ChangeGroup {
  /** The table's key in the schema object given to `defineSync`. */
  readonly table: string;
  readonly kind: ChangeKind;
  /** Column keys of the schema: first those of the primary key, in key order; then, except for removals, the others. */
  readonly columns: readonly string[];
  /** One array per column, all of the same length. */
  readonly values: readonly (readonly Value[])[];
}
