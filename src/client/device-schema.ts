/**
 * What the device knows of its tables, derived once from the definition: the columns that take part in sync, their hash for
 * the handshake, and who references whom, since the engine runs cascades itself (rule A4).
 *
 * @module
 */

import type { KnownTables } from "../protocol/handshake.ts";
import { hashSchema } from "../protocol/hash.ts";
import { knownTables } from "../plugin/known-tables.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { SyncColumn, SyncTable } from "../plugin/table.ts";

/** A foreign key between two synced tables. */
export interface Reference {
  readonly child: DeviceTable;
  readonly columns: readonly SyncColumn[];
  readonly parent: DeviceTable;
  readonly targetColumns: readonly SyncColumn[];
  readonly onDelete: SyncTable["foreignKeys"][number]["onDelete"];
  readonly onUpdate: SyncTable["foreignKeys"][number]["onUpdate"];
}

/** A synced table as the device holds it. */
export interface DeviceTable {
  readonly key: string;
  readonly table: SyncTable;
  /** All columns that sync, the key's first. Excluded ones hold nothing of the server's and are left alone. */
  readonly columns: readonly SyncColumn[];
  readonly keyColumns: readonly SyncColumn[];
  /** The columns after the key. */
  readonly rest: readonly SyncColumn[];
  /** The excluded columns: what they hold is the device's own. */
  readonly own: readonly SyncColumn[];
  /** The foreign keys of this table. */
  readonly references: readonly Reference[];
  /** The foreign keys that point at this table. */
  readonly referencedBy: readonly Reference[];
}

/** All of it. */
export interface DeviceSchema {
  readonly tables: readonly DeviceTable[];
  readonly byKey: ReadonlyMap<string, DeviceTable>;
  readonly known: KnownTables;
  readonly hash: string;
}

const schemas = new WeakMap<SyncDatabase, DeviceSchema>();

/** The device's schema; computed once per database. */
export function deviceSchema(sync: SyncDatabase): DeviceSchema {
  let schema = schemas.get(sync);
  if (!schema) schemas.set(sync, (schema = build(sync)));
  return schema;
}

function build(sync: SyncDatabase): DeviceSchema {
  const byKey = new Map<
    string,
    DeviceTable & { readonly references: Reference[]; readonly referencedBy: Reference[] }
  >();
  for (const table of sync.tables) {
    const columns = table.columns.filter((column) => !column.excluded);
    byKey.set(table.key, {
      key: table.key,
      table,
      columns,
      keyColumns: table.keyColumns,
      rest: columns.slice(table.keyColumns.length),
      own: table.columns.filter((column) => column.excluded),
      references: [],
      referencedBy: [],
    });
  }
  for (const child of byKey.values()) {
    for (const foreignKey of child.table.foreignKeys) {
      const parent = byKey.get(foreignKey.target.key);
      if (!parent) continue;
      const { columns, targetColumns, onDelete, onUpdate } = foreignKey;
      const reference: Reference = { child, columns, parent, targetColumns, onDelete, onUpdate };
      child.references.push(reference);
      parent.referencedBy.push(reference);
    }
  }
  const known = knownTables(sync.tables);
  return { tables: [...byKey.values()], byKey, known, hash: hashSchema(known) };
}
