/**
 * Builds the {@link SyncTable}s of a definition from Drizzle's tables, and refuses what cannot be synced: unknown tables
 * and columns, keys that the database makes, scopes without a column or a parent. Each refusal names table and column
 * and says what to write instead.
 *
 * @module
 */

import { getTableName, is, Table, type Column } from "drizzle-orm";
import { getTableConfig, SQLiteTable, type AnySQLiteColumn } from "drizzle-orm/sqlite-core";
import { SyncError } from "../protocol/errors.ts";
import type { CanonicalForm } from "../protocol/value.ts";
import { invalid, requireColumn } from "./invalid-config.ts";
import { linkParent, readForeignKeys, refuseCycle, type Mutable } from "./link-tables.ts";
import type { ScopeRule, SyncColumn, SyncTable } from "./table.ts";

/** The rules of one table as data; `TableSync` in `define-sync.ts` is their checked form. */
export interface TableRules {
  readonly scope?: string | Readonly<Record<string, string | readonly string[]>>;
  readonly scopeFrom?: string;
  readonly conflict?: unknown;
  readonly readonly?: readonly string[];
  readonly exclude?: readonly string[];
  readonly write?: "device" | "server";
  readonly keys?: "app";
  readonly check?: (change: { readonly before?: unknown; readonly after?: unknown }) => string | undefined;
}

/** Gives a column's name in SQL: Drizzle's `casing` option may turn `listId` into `list_id`. */
export type ColumnNaming = (column: Column) => string;

/** Reads the synced tables, in the order of the schema. `naming` is the database's; absent, names are as written. */
export function readTables(
  schema: Readonly<Record<string, unknown>>,
  rules: Readonly<Record<string, TableRules | undefined>>,
  naming: ColumnNaming | undefined,
): readonly SyncTable[] {
  for (const key of Object.keys(rules)) {
    if (!is(schema[key], Table)) {
      const known = Object.keys(schema).filter((name) => is(schema[name], Table));
      throw invalid(
        `\`${key}\` is not a table of the schema. Its tables are ${known.map((name) => `\`${name}\``).join(", ")}.`,
        key,
      );
    }
    if (!is(schema[key], SQLiteTable)) {
      throw new SyncError({
        code: "UNSUPPORTED_DATABASE",
        message: `Table \`${key}\` is not a SQLite table. Declare it with \`sqliteTable\`.`,
      });
    }
  }
  const built = new Map<Table, Mutable<SyncTable>>();
  for (const [key, table] of Object.entries(schema)) {
    const rule = rules[key];
    if (rule === undefined || !is(table, SQLiteTable)) continue;
    if (built.has(table)) throw invalid(`Table \`${key}\` is in the schema twice. Give rules to one of its keys.`, key);
    built.set(table, readTable(key, table, rule, naming ?? ((column) => column.name)));
  }
  for (const table of built.values()) {
    table.foreignKeys = readForeignKeys(table, built);
    const from = rules[table.key]?.scopeFrom;
    if (from !== undefined) linkParent(table, from, built, schema);
  }
  for (const table of built.values()) {
    refuseCycle(table);
    for (const { target, columns, targetColumns } of table.foreignKeys) {
      const referenced = built.get(target.table);
      if (referenced !== undefined)
        referenced.referencedBy = [...referenced.referencedBy, { table, columns, targetColumns }];
    }
  }
  refuseSharedTexts([...built.values()]);
  return [...built.values()];
}

/** One text must not name two scopes: a right to the one would be a right to the other. */
function refuseSharedTexts(tables: readonly SyncTable[]): void {
  const kinds = new Map<string, { readonly table: SyncTable; readonly columns: number; readonly compound: boolean }>();
  for (const table of tables) {
    for (const rule of table.scopes) {
      if (rule.kind === "constant") continue;
      const { compound, columns } = rule;
      const other = kinds.get(rule.name);
      if (other === undefined) kinds.set(rule.name, { table, columns: columns.length, compound });
      else if (other.columns !== columns.length || other.compound !== compound)
        throw invalid(
          `Table \`${table.key}\`: the scope kind \`${rule.name}\` is made of ${describeParts(columns.length, compound)}, but in table \`${other.table.key}\` of ${describeParts(other.columns, other.compound)}, so that two scopes could have one text. Give one of them another name.`,
          table.key,
        );
    }
  }
  for (const table of tables) {
    for (const rule of table.scopes) {
      const kind = rule.kind === "constant" ? rule.scope.slice(0, Math.max(0, rule.scope.indexOf(":"))) : "";
      if (rule.kind === "constant" && kinds.has(kind))
        throw invalid(
          `Table \`${table.key}\`: the constant scope \`${rule.scope}\` could be one of the kind \`${kind}\`. Begin it with another word.`,
          table.key,
        );
    }
  }
}

function describeParts(columns: number, compound: boolean): string {
  return compound ? `a list of ${columns}` : "one column";
}

/** Whether the Drizzle table declares an index that begins with the column. */
export function isIndexDeclared({ column, isKey, index }: SyncColumn): boolean {
  if (column.isUnique || (isKey && index === 0)) return true;
  const config = getTableConfig(column.table as SQLiteTable);
  const begins: readonly unknown[] = [
    ...config.indexes.map((other) => other.config.columns[0]),
    ...config.uniqueConstraints.map((other) => other.columns[0]),
  ];
  return begins.includes(column);
}

function readTable(key: string, table: SQLiteTable, rules: TableRules, naming: ColumnNaming): Mutable<SyncTable> {
  const config = getTableConfig(table);
  const all = Object.entries(table as unknown as Record<string, AnySQLiteColumn>).filter(([, column]) =>
    config.columns.includes(column),
  );
  const known = new Map(all);
  const compound = config.primaryKeys[0]?.columns;
  const keyColumns = compound ?? config.columns.filter((column) => column.primary);
  if (keyColumns.length === 0) {
    throw new SyncError({
      code: "MISSING_PRIMARY_KEY",
      message: `Table \`${key}\` has no primary key, so its rows cannot be told apart. Add one, such as \`id: text().primaryKey()\`, or leave the table out of \`defineSync\`.`,
      details: { table: key },
    });
  }
  refuseDatabaseKeys(key, keyColumns, known, rules);

  const named = (option: string, columns: readonly string[]): ReadonlySet<string> => {
    for (const column of columns) requireColumn(key, option, column, known);
    return new Set(columns);
  };
  const excluded = named("exclude", rules.exclude ?? []);
  const readonly = named("readonly", rules.readonly ?? []);
  const isKey = (column: Column): boolean => (keyColumns as readonly Column[]).includes(column);
  // Generated columns are computed again wherever the row goes.
  const plain = all.filter(([, column]) => column.generated === undefined);
  const ordered = [
    ...keyColumns.map((column) => plain.find(([, other]) => other === column)).filter((entry) => entry !== undefined),
    ...plain.filter(([, column]) => !isKey(column)),
  ];
  const columns = ordered.map(([columnKey, column], index): SyncColumn => ({
    key: columnKey,
    name: naming(column),
    column,
    form: formOf(column),
    notNull: column.notNull || isKey(column),
    isKey: isKey(column),
    index,
    excluded: excluded.has(columnKey),
    readonly: readonly.has(columnKey),
  }));
  for (const column of columns) refuseUnusable(key, column);

  const byColumn = new Map<Column, SyncColumn>(columns.map((column) => [column.column, column]));
  return {
    key,
    name: getTableName(table),
    table,
    columns,
    keyColumns: columns.slice(0, keyColumns.length),
    columnByKey: new Map(columns.map((column) => [column.key, column])),
    scopes: readScopes(key, rules, known, new Map(columns.map((column) => [column.key, column]))),
    children: [],
    foreignKeys: [],
    referencedBy: [],
    uniques: readUniques(config, byColumn),
    write: rules.write ?? "device",
    conflict: rules.conflict,
    ...(rules.check === undefined ? {} : { check: rules.check }),
  };
}

function refuseDatabaseKeys(
  key: string,
  keyColumns: readonly AnySQLiteColumn[],
  known: ReadonlyMap<string, Column>,
  rules: TableRules,
): void {
  const [only] = keyColumns;
  // A single integer primary key is SQLite's row id: the database makes it when the app gives none.
  if (rules.keys === "app" || only === undefined || keyColumns.length > 1 || only.getSQLType() !== "integer") return;
  const name = keyOf(only, known);
  throw invalid(
    `Table \`${key}\`: the database makes the key \`${name}\`, so two devices would make the same one. ` +
      `Use a key that the app makes, such as \`${name}: text().primaryKey().$defaultFn(() => crypto.randomUUID())\`, ` +
      'or say `keys: "app"` if the app always gives this number itself and it is the same nowhere else.',
    key,
    name,
  );
}

function refuseUnusable(key: string, { key: columnKey, column, excluded, readonly, isKey }: SyncColumn): void {
  if (isKey && (excluded || readonly)) {
    throw invalid(
      `Table \`${key}\`: \`${columnKey}\` is part of the primary key and cannot be ${excluded ? "excluded" : "readonly"}.`,
      key,
      columnKey,
    );
  }
  // `$default` runs in Drizzle's own inserts only; rows from the server reach a device as SQL.
  if (excluded && column.notNull && column.default === undefined) {
    throw invalid(
      `Table \`${key}\`: \`${columnKey}\` is excluded, so a device has no value for it, but it is NOT NULL without a default. Make it nullable or give it \`.default(…)\`.`,
      key,
      columnKey,
    );
  }
}

function readScopes(
  key: string,
  rules: TableRules,
  known: ReadonlyMap<string, Column>,
  byKey: ReadonlyMap<string, SyncColumn>,
): readonly ScopeRule[] {
  const { scope, scopeFrom } = rules;
  if (scopeFrom !== undefined) {
    if (scope !== undefined)
      throw invalid(
        `Table \`${key}\` has both \`scope\` and \`scopeFrom\`. Rows have scopes of their own or inherit them: keep one.`,
        key,
      );
    return [];
  }
  if (scope === undefined)
    throw invalid(
      `Table \`${key}\` has neither \`scope\` nor \`scopeFrom\`. Say \`scope: "everyone"\` if everybody may hold it.`,
      key,
    );
  if (typeof scope === "string") return [constantScope(key, scope)];
  return Object.entries(scope).map(([kind, columns]): ScopeRule => {
    if (kind === "" || /[:\n%]/.test(kind))
      throw invalid(
        `Table \`${key}\`: the scope kind \`${kind}\` is empty or has a colon, percent sign or line feed in it.`,
        key,
      );
    const keys = typeof columns === "string" ? [columns] : columns;
    if (keys.length === 0) throw invalid(`Table \`${key}\`: the scope \`${kind}\` names no column.`, key);
    for (const column of keys) requireScopeColumn(key, kind, column, known, byKey);
    return {
      kind: "columns",
      name: kind,
      columns: keys.map((column) => byKey.get(column)).filter((column) => column !== undefined),
      compound: typeof columns !== "string",
    };
  });
}

function constantScope(key: string, scope: string): ScopeRule {
  if (scope === "" || scope.includes("\n"))
    throw invalid(`Table \`${key}\`: a constant scope is a text that is not empty and has no line feed.`, key);
  return { kind: "constant", scope };
}

const scopableTypes: ReadonlySet<string> = new Set(["SQLiteText", "SQLiteInteger", "SQLiteBoolean"]);

function requireScopeColumn(
  key: string,
  kind: string,
  columnKey: string,
  known: ReadonlyMap<string, Column>,
  byKey: ReadonlyMap<string, SyncColumn>,
): void {
  const column = requireColumn(key, `scope.${kind}`, columnKey, known);
  if (!scopableTypes.has(column.columnType)) {
    throw invalid(
      `Table \`${key}\`: the scope \`${kind}\` is made of \`${columnKey}\`, whose values have no one spelling as text (${column.columnType}). Use a text, integer or boolean column.`,
      key,
      columnKey,
    );
  }
  const read = byKey.get(columnKey);
  if (read === undefined)
    throw invalid(
      `Table \`${key}\`: the scope \`${kind}\` is made of \`${columnKey}\`, which is generated. Use a stored column.`,
      key,
      columnKey,
    );
  if (read.excluded)
    throw invalid(
      `Table \`${key}\`: \`${columnKey}\` makes the scope \`${kind}\`, so a device must know it. Do not exclude it.`,
      key,
      columnKey,
    );
}

function readUniques(
  config: ReturnType<typeof getTableConfig>,
  byColumn: ReadonlyMap<Column, SyncColumn>,
): readonly (readonly SyncColumn[])[] {
  const lists: readonly (readonly unknown[])[] = [
    ...config.columns.filter((column) => column.isUnique).map((column) => [column]),
    ...config.uniqueConstraints.map((constraint) => constraint.columns),
    ...config.indexes
      .filter((index) => index.config.unique && index.config.where === undefined)
      .map((index) => index.config.columns),
  ];
  return lists
    .map((columns) => columns.map((column) => byColumn.get(column as Column)))
    .filter((columns): columns is SyncColumn[] => columns.every((column) => column !== undefined));
}

function keyOf(column: Column, known: ReadonlyMap<string, Column>): string {
  for (const [key, other] of known) if (other === column) return key;
  return column.name;
}

const forms: Readonly<Record<string, CanonicalForm>> = {
  SQLiteText: "text",
  SQLiteTextJson: "json",
  SQLiteInteger: "integer",
  SQLiteBoolean: "boolean",
  SQLiteTimestamp: "time",
  SQLiteReal: "real",
  SQLiteBlobBuffer: "blob",
  SQLiteBlobJson: "json",
  SQLiteBigInt: "blob",
};

// Numeric columns keep integers, floats and texts; custom ones anything: those values are compared as they are.
function formOf(column: Column): CanonicalForm {
  return forms[column.columnType] ?? "any";
}
