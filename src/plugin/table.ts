/**
 * A synced table, read once from its Drizzle declaration and its part of `defineSync`: columns, key, scopes, parent. What
 * every other module asks about a table, it asks here. Wire names are the keys of the schema object and of the table's
 * columns; SQL names appear in SQL alone.
 *
 * @module
 */

import type { Column, Table } from "drizzle-orm";
import type { CanonicalForm } from "../protocol/value.ts";

/** A column that takes part in sync. Generated columns never do; on a device, excluded ones neither. */
export interface SyncColumn {
  /** The property in the Drizzle table; the column's name on the wire. */
  readonly key: string;
  /** The name in SQL, with Drizzle's `casing` applied. */
  readonly name: string;
  readonly column: Column;
  readonly form: CanonicalForm;
  readonly notNull: boolean;
  readonly isKey: boolean;
  /** Position in {@link SyncTable.columns}. */
  readonly index: number;
  /** `exclude`: never leaves the server. */
  readonly excluded: boolean;
  /** `readonly`: a device's update is refused, its value on insert replaced by `assign`. */
  readonly readonly: boolean;
}

/** One scope rule. `kind` empty: a constant scope, whose text is `constant`. */
export type ScopeRule =
  | { readonly kind: "constant"; readonly scope: string }
  /** `<kind>:<value>`, or `<kind>:<a>:<b>` with `%` and `:` escaped in the parts when compound. */
  | {
      readonly kind: "columns";
      readonly name: string;
      readonly columns: readonly SyncColumn[];
      readonly compound: boolean;
    };

/** A table of the definition. */
export interface SyncTable {
  /** The key in the schema object; the table's name on the wire. */
  readonly key: string;
  /** The name in SQL. */
  readonly name: string;
  readonly table: Table;
  /** The primary key's columns first, in key order, then the others in declaration order. Excluded ones included. */
  readonly columns: readonly SyncColumn[];
  readonly keyColumns: readonly SyncColumn[];
  readonly columnByKey: ReadonlyMap<string, SyncColumn>;
  /** The table's own scope rules; empty when inherited. */
  readonly scopes: readonly ScopeRule[];
  /** `scopeFrom`: the parent whose scopes the row has, and the column that names it. */
  readonly parent?: { readonly table: SyncTable; readonly column: SyncColumn };
  /** Tables that inherit from this one. */
  readonly children: readonly SyncTable[];
  /** Foreign keys to synced tables, for cascades on the device. */
  readonly foreignKeys: readonly {
    readonly columns: readonly SyncColumn[];
    readonly target: SyncTable;
    readonly targetColumns: readonly SyncColumn[];
    readonly onDelete: "cascade" | "set null" | "set default" | "restrict" | "no action";
    readonly onUpdate: "cascade" | "set null" | "set default" | "restrict" | "no action";
  }[];
  /** Foreign keys of synced tables (this one too) that reference this table. */
  readonly referencedBy: readonly {
    readonly table: SyncTable;
    readonly columns: readonly SyncColumn[];
    readonly targetColumns: readonly SyncColumn[];
  }[];
  /** Unique indexes and constraints besides the primary key. */
  readonly uniques: readonly (readonly SyncColumn[])[];
  readonly write: "device" | "server";
  /** The resolver given in `defineSync`, or server wins. */
  readonly conflict: unknown;
  readonly check?: (change: { readonly before: unknown; readonly after: unknown }) => string | undefined;
}
