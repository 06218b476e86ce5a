/**
 * Operations on rows of the table `todos` of `capture-fixture.ts`, as the server reads them from a push: for tests of the
 * pure rules that judge them.
 *
 * @module
 */

import type { SyncColumn, SyncTable } from "../plugin/table.ts";
import type { Value } from "../protocol/ids.ts";
import type { SeenValue } from "../protocol/push.ts";
import type { KnownTable } from "../server/known-schema.ts";
import { foldOperations, type Net } from "../server/net.ts";
import type { RowOperation } from "../server/operations.ts";
import { capture } from "./capture-fixture.ts";

const todos = tableNamed("todos");

/** The table as a device knows it that lacks nothing. */
export const knownTodos: KnownTable = {
  table: todos,
  columns: todos.columns,
  columnKeys: [],
  keyColumnKeys: [],
  others: todos.columns.filter((column) => !column.isKey),
  declared: [],
  unknownColumns: [],
};

function tableNamed(key: string): SyncTable {
  using it = capture();
  const table = it.sync.tableByKey.get(key);
  if (table === undefined) throw new Error(`No table ${key}.`);
  return table;
}

/** A column of the table. */
export function column(key: string): SyncColumn {
  const found = todos.columnByKey.get(key);
  if (found === undefined) throw new Error(`No column ${key}.`);
  return found;
}

type Written = Readonly<Record<string, Value>>;
type Seen = Readonly<Record<string, SeenValue>>;
/** An operation that has no place in a transaction yet. */
export type Change = Omit<RowOperation, "index">;

const of = (id: string): Pick<RowOperation, "table" | "known" | "key" | "keyText" | "row"> => ({
  table: todos,
  known: knownTodos,
  key: [id],
  keyText: id,
  row: `todos ${id}`,
});
const columnsOf = (values: Written): readonly SyncColumn[] => Object.keys(values).map(column);

/** An insert. */
export const insert = (id: string, values: Written): Change => ({
  ...of(id),
  kind: "insert",
  columns: columnsOf(values),
  values: Object.values(values),
  before: [],
});
/** An update of some columns, with what was seen of them. */
export const update = (id: string, values: Written, before: Seen, seenRow?: readonly Value[]): Change => ({
  ...of(id),
  kind: "update",
  columns: columnsOf(values),
  values: Object.values(values),
  before: Object.values(before),
  ...(seenRow === undefined ? {} : { seenRow }),
});
/** A delete, with the hash of what was seen. */
export const remove = (id: string, hash: string, seenRow?: readonly Value[]): Change => ({
  ...of(id),
  kind: "delete",
  columns: [],
  values: [],
  before: [[hash]],
  ...(seenRow === undefined ? {} : { seenRow }),
});

/** The net changes of a transaction, by row. */
export const fold = (...changes: readonly Change[]): ReadonlyMap<string, Net> =>
  foldOperations(changes.map((change, index) => ({ ...change, index })));

/** The net change of the row `t`. */
export function foldOne(...changes: readonly Change[]): Net {
  const net = fold(...changes).get("todos t");
  if (net === undefined) throw new Error("No operation is on the row `t`.");
  return net;
}
