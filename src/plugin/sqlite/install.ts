/**
 * Creates, checks and mends what the library owns in a SQLite database: log, state tables and triggers. Everything is first
 * worked out by reading ({@link inspect}), so that a start that finds all in order writes nothing and waits for no lock;
 * what is to be done is then worked out again and done inside one write transaction.
 *
 * What went by while triggers were missing (a rebuilt table, a tool that dropped them) is unknown. On a server a marker is
 * then appended, and every cursor below it is answered with a reset.
 *
 * Two versions of the app may serve one file for a while. Each leaves alone the triggers of tables that it does not know,
 * and the one that started first leaves alone what the later one has put in the place of its own.
 *
 * @module
 */

import { hashSchema } from "../../protocol/hash.ts";
import { hlcNow } from "../../protocol/hlc.ts";
import type { Value } from "../../protocol/ids.ts";
import { SyncError } from "../../protocol/errors.ts";
import { all, first, run, type Core } from "../core.ts";
import { knownTables } from "../known-tables.ts";
import { readLayout, type Layout, type LayoutRow } from "../layouts.ts";
import {
  EVICT,
  FORMER_SCOPE_INDEX,
  LAYOUT,
  LOG,
  MARKER,
  META,
  MUTE,
  PREFIX,
  SCOPE_INDEX,
  STAMP_SQL,
  metaKeys,
} from "../names.ts";
import { invalid } from "../invalid-config.ts";
import { isIndexDeclared } from "../read-tables.ts";
import type { InstallCause, Role } from "../sync-database.ts";
import type { SyncTable } from "../table.ts";
import { isSameName, timesIndexWork, triggerWork, type SchemaObject } from "./install-triggers.ts";
import { logWholeTable, writeOrder } from "./log-whole-table.ts";
import { readLiveTable, type LiveTable } from "./live-table.ts";
import { deviceStateDdl } from "./device-ddl.ts";
import { identifier } from "./quote.ts";
import type { Safeguards } from "./safeguards.ts";
import { schemaWork } from "./schema-work.ts";
import { scopeIndexDdl } from "./scope-index.ts";
import { serverStateDdl } from "./server-ddl.ts";
import type { TriggerContext } from "./trigger-parts.ts";

/** What is to be captured. */
export interface InstallOptions extends InstallCause {
  readonly tables: readonly SyncTable[];
  /** The role for a database that has none yet; a server that nobody pulled from becomes a device. */
  readonly role: Role;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** What {@link Installed} said when this process installed last; absent at its start. */
  readonly generation?: number | undefined;
  readonly without?: Safeguards | undefined;
}

/** What is there once it is installed. */
export interface Installed {
  readonly role: Role;
  readonly schemaVersion: number;
  /** {@link metaKeys.generation} when this process found or made all triggers its own at its start. */
  readonly generation: number;
  readonly layouts: ReadonlyMap<number, Layout>;
  /** The tables that are in the database, with what it says about them. */
  readonly live: ReadonlyMap<SyncTable, LiveTable>;
  /** Numbers of the layouts that entries written from now on have. */
  readonly numbers: ReadonlyMap<SyncTable, number>;
}

/** A statement that installing takes. */
export interface Work {
  readonly sql: string;
  readonly params: readonly Value[];
}

/** Works out what there is to do, without writing. */
export function* inspect(
  options: InstallOptions,
): Core<{ readonly installed: Installed; readonly work: readonly Work[] }> {
  const work: Work[] = [];
  const does = (sql: string, params: readonly Value[] = []): void => void work.push({ sql, params });
  const schemaVersion = Number((yield* first("PRAGMA schema_version"))?.[0]);
  const objects = (yield* all(
    "SELECT type, name, tbl_name, sql, rowid FROM sqlite_master WHERE type <> 'view' ORDER BY rowid",
  )).map(([type, name, on, sql, rowid]) => ({
    type: String(type),
    name: String(name),
    on: String(on),
    sql: String(sql),
    rowid: Number(rowid),
  }));
  const hasTable = (name: string): boolean => objects.some((object) => object.type === "table" && object.name === name);
  const meta = new Map(
    hasTable(META) ? (yield* all(`SELECT k, v FROM ${META}`)).map(([k, v]) => [String(k), v ?? null] as const) : [],
  );

  const before = meta.get(metaKeys.role);
  const role: Role = before === "device" || options.role === "device" ? "device" : "server";
  const becomesDevice = before === "server" && role === "device";
  if (becomesDevice) yield* refuseServedDatabase(hasTable);

  if (options.generation === undefined)
    for (const { name } of options.tables) if (!hasTable(name) && hasTable(`__new_${name}`)) throw cutShort(name);
  const live = yield* readLiveTables(options, role);
  const rows = hasTable(LAYOUT) && !becomesDevice ? yield* readLayoutRows() : [];
  const recorded = new Set(rows.map((row) => row.number));
  const numbers = new Map<SyncTable, number>();
  for (const table of live.values()) {
    const columns = table.columns.map(({ name }) => name);
    const text = JSON.stringify(columns);
    let row = [...rows]
      .reverse()
      .find(
        (other) =>
          other.name === table.table.name &&
          other.keyLength === table.keyLength &&
          JSON.stringify(other.columns) === text,
      );
    if (row === undefined) {
      row = {
        number: rows.reduce((most, other) => Math.max(most, other.number), 0) + 1,
        name: table.table.name,
        keyLength: table.keyLength,
        columns,
      };
      rows.push(row);
      does(`INSERT INTO ${LAYOUT}(t, name, keys, columns) VALUES (?, ?, ?, ?)`, [
        row.number,
        row.name,
        row.keyLength,
        text,
      ]);
    }
    numbers.set(table.table, row.number);
  }
  // Tables come first: what was worked out above already writes to them.
  work.unshift(
    ...(yield* tableWork(hasTable, becomesDevice, role, [...live.values()])),
    ...stateWork(objects, becomesDevice, role),
  );

  const context: TriggerContext = {
    role,
    numberOf: (table) => numbers.get(table),
    liveOf: (table) => live.get(table),
    without: options.without,
  };
  const stored = Number(meta.get(metaKeys.generation) ?? 0);
  const isStart = options.generation === undefined;
  const isDeferring = !isStart && options.generation !== stored && before === role;
  const { missing, statements, isExact } = triggerWork(objects, [...live.values()], numbers, context, {
    isSeen: options.isSeen === true,
    isDeferring,
    layouts: rows,
    isNew: (layout) => !recorded.has(layout),
    isOurs: (name) => role === "device" || options.tables.some((table) => isSameName(table.name, name)),
  });
  for (const sql of statements) does(sql);
  // Whoever finds all as it would write it goes on with whoever wrote it.
  const isTaking = isStart || (isDeferring && statements.length > 0);
  const generation = isExact ? stored : isTaking ? stored + 1 : (options.generation ?? stored);
  if (isTaking && generation !== stored) does(...metaWrite(metaKeys.generation, generation));

  const known = new Set(
    typeof meta.get(metaKeys.tables) === "string"
      ? (JSON.parse(String(meta.get(metaKeys.tables))) as readonly string[])
      : [],
  );
  const names = JSON.stringify([...new Set([...known, ...options.tables.map((table) => table.name)])]);
  if (meta.get(metaKeys.tables) !== names) does(...metaWrite(metaKeys.tables, names));
  if (before !== role) does(...metaWrite(metaKeys.role, role));
  if (!meta.has(metaKeys.epoch))
    does(`INSERT INTO ${META}(k, v) VALUES (?, lower(hex(randomblob(16))))`, [metaKeys.epoch]);
  if (!hasTable(LOG) || becomesDevice) startLog(does, meta, role);
  if (
    role === "server" &&
    before !== undefined &&
    options.isLifted !== true &&
    missing.some(({ table }) => known.has(table.name) && options.compared?.has(table.name) !== true)
  ) {
    // Rows may have changed, gone or left their scopes unseen, and so may whatever inherits from them.
    does(`INSERT INTO ${LOG}(stamp, t, kind, mask) VALUES (${STAMP_SQL}, ${MARKER}, 0, ?)`, [hlcNow(0, options.now)]);
    does(`INSERT OR REPLACE INTO ${META}(k, v) SELECT ?, max(seq) FROM ${LOG}`, [metaKeys.declaredSince]);
  }
  if (role === "device")
    work.push(...(yield* schemaWork(options.tables, meta, { isUpgrade: before === "device", now: options.now })));
  if (role === "device" && before !== "device") {
    for (const table of writeOrder([...live.values()])) does(logWholeTable(table, numbers.get(table.table) ?? 0));
    // Rows that were there before the device was one are its first transaction; if there were none, there is no marker.
    does(
      `INSERT INTO ${LOG}(stamp, t, kind, mask, k0, c0) SELECT ${STAMP_SQL}, 0, 0, ?, 1, ? WHERE EXISTS (SELECT 1 FROM ${LOG})`,
      [hlcNow(0, options.now), hashSchema(knownTables(options.tables))],
    );
  }
  for (const sql of timesIndexWork(objects, live, rows, role)) does(sql);
  const layouts = new Map(rows.map((row) => [row.number, readLayout(row, options.tables)]));
  return { installed: { role, schemaVersion, generation, layouts, live, numbers }, work };
}

/** Does the work, in a write transaction, and gives what is there afterwards. */
export function* install(options: InstallOptions): Core<Installed> {
  const { installed, work } = yield* inspect(options);
  if (work.length === 0) return installed;
  for (const { sql, params } of work) yield* run(sql, params);
  return { ...installed, schemaVersion: Number((yield* first("PRAGMA schema_version"))?.[0]) };
}

/** Statements that take away all triggers, for `ALTER TABLE … DROP COLUMN`, which fails while one names the column. */
export function* liftTriggers(): Core<void> {
  for (const [name] of yield* all("SELECT name FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, ?) = ?", [
    PREFIX.length,
    PREFIX,
  ])) {
    yield* run(`DROP TRIGGER ${identifier(String(name))}`);
  }
}

function metaWrite(key: string, value: Value): [string, readonly Value[]] {
  return [`INSERT INTO ${META}(k, v) VALUES (?, ?) ON CONFLICT(k) DO UPDATE SET v = excluded.v`, [key, value]];
}

function* refuseServedDatabase(hasTable: (name: string) => boolean): Core<void> {
  const devices = `${PREFIX}devices`;
  if (!hasTable(devices) || (yield* first(`SELECT 1 FROM ${devices} LIMIT 1`)) === undefined) return;
  throw new SyncError({
    code: "INVALID_CONFIG",
    message:
      "Devices sync with this database, so it cannot become a device itself. Give `createSyncClient` a database of its own.",
  });
}

// Inside a migration of ours this is how a rebuild looks half-way; a start that finds it so finds one that failed.
function cutShort(name: string): SyncError<"INVALID_CONFIG"> {
  return invalid(
    `Table \`${name}\` is missing and \`__new_${name}\` is there: a rebuild stopped half-way, as it does when another tool renames a table that triggers of other tables name. ` +
      `Run \`drizzle-sync lift <file>\`, then \`ALTER TABLE "__new_${name}" RENAME TO "${name}"\`, and run the tool again.`,
    name,
  );
}

function* readLiveTables(options: InstallOptions, role: Role): Core<ReadonlyMap<SyncTable, LiveTable>> {
  const live = new Map<SyncTable, LiveTable>();
  for (const table of options.tables) {
    const found = yield* readLiveTable(table, role);
    if (found === undefined) continue;
    live.set(table, found);
    const parent = table.parent;
    if (
      role === "server" &&
      parent !== undefined &&
      !found.indexedColumns.has(parent.column.name) &&
      !isIndexDeclared(parent.column)
    ) {
      throw invalid(
        `Table \`${table.key}\`: \`scopeFrom: "${parent.column.key}"\` needs an index on that column, or each change of a row in \`${parent.table.key}\` would read the whole table. ` +
          `Add \`index("${table.name}_${parent.column.name}_idx").on(t.${parent.column.key})\` to the table.`,
        table.key,
        parent.column.key,
      );
    }
  }
  // A migration may create a child before the parent whose scopes it has: it is captured once both are there.
  const isWhole = ({ parent }: SyncTable): boolean =>
    parent === undefined || (live.has(parent.table) && isWhole(parent.table));
  for (const table of [...live.keys()]) if (!isWhole(table)) live.delete(table);
  return live;
}

/** The layouts that entries of this log may name. */
export function* readLayoutRows(): Core<LayoutRow[]> {
  return (yield* all(`SELECT t, name, keys, columns FROM ${LAYOUT} ORDER BY t`)).map(
    ([number, name, keys, columns]) => ({
      number: Number(number),
      name: String(name),
      keyLength: Number(keys),
      columns: JSON.parse(String(columns)) as readonly string[],
    }),
  );
}

function* tableWork(
  hasTable: (name: string) => boolean,
  becomesDevice: boolean,
  role: Role,
  live: readonly LiveTable[],
): Core<readonly Work[]> {
  const work: Work[] = [];
  const does = (sql: string): void => void work.push({ sql, params: [] });
  if (becomesDevice) for (const name of [LOG, EVICT, LAYOUT]) if (hasTable(name)) does(`DROP TABLE ${name}`);
  const keys = Math.max(1, ...live.map((table) => table.keyLength));
  const rest = Math.max(1, ...live.map((table) => table.columns.length - table.keyLength));
  const names = (prefix: string, count: number): readonly string[] =>
    Array.from({ length: count }, (_, i) => `${prefix}${i}`);
  // Untyped columns keep every SQLite value exactly.
  const log =
    role === "server"
      ? [...names("k", keys), "sb", "sa"]
      : [...names("k", keys), ...names("c", rest), ...names("o", rest)];
  const evict = role === "server" ? [...names("k", keys), "s"] : [...names("k", keys), ...names("c", rest)];
  const wide = [
    {
      name: LOG,
      ddl: `CREATE TABLE ${LOG}(seq INTEGER PRIMARY KEY, stamp, t, kind, mask, ${log.join(", ")})`,
      columns: log,
    },
    { name: EVICT, ddl: `CREATE TABLE ${EVICT}(t, ${evict.join(", ")})`, columns: evict },
  ];
  for (const { name, ddl, columns } of wide) {
    if (!hasTable(name) || becomesDevice) {
      does(ddl);
      continue;
    }
    const present = new Set(
      (yield* all("SELECT name FROM pragma_table_info(?)", [name])).map(([column]) => String(column)),
    );
    for (const column of columns) if (!present.has(column)) does(`ALTER TABLE ${name} ADD COLUMN ${column}`);
  }
  const plain = [
    [META, `CREATE TABLE ${META}(k TEXT PRIMARY KEY NOT NULL, v) WITHOUT ROWID`],
    [MUTE, `CREATE TABLE ${MUTE}(x INTEGER PRIMARY KEY)`],
    [
      LAYOUT,
      `CREATE TABLE ${LAYOUT}(t INTEGER PRIMARY KEY, name TEXT NOT NULL, keys INTEGER NOT NULL, columns TEXT NOT NULL)`,
    ],
    ...(role === "server" ? [[SCOPE_INDEX, scopeIndexDdl] as const] : []),
  ] as const;
  for (const [name, ddl] of plain) if (!hasTable(name) || (becomesDevice && name === LAYOUT)) does(ddl);
  // A log that was there before its index is indexed anew, from its beginning.
  if (role === "server" && hasTable(LOG) && !hasTable(SCOPE_INDEX))
    does(`DELETE FROM ${META} WHERE k = '${metaKeys.indexed}'`);
  if (hasTable(FORMER_SCOPE_INDEX)) does(`DROP TABLE ${FORMER_SCOPE_INDEX}`);
  return work;
}

/** State tables of the parts above the plugin: theirs alone, and none of it captured. */
function stateWork(objects: readonly SchemaObject[], becomesDevice: boolean, role: Role): readonly Work[] {
  const nameOf = (sql: string): string | undefined => /^CREATE (?:TABLE|INDEX) IF NOT EXISTS (\w+)/.exec(sql)?.[1];
  const isThere = (sql: string): boolean => objects.some((object) => object.name === nameOf(sql));
  // Both roles have a table of outcomes, and not the same one.
  const dropped = becomesDevice
    ? serverStateDdl
        .filter((sql) => sql.startsWith("CREATE TABLE") && isThere(sql))
        .map((sql) => `DROP TABLE ${nameOf(sql)}`)
    : [];
  const wanted = role === "server" ? serverStateDdl : deviceStateDdl;
  return [...dropped, ...wanted.filter((sql) => becomesDevice || !isThere(sql))].map((sql) => ({ sql, params: [] }));
}

function startLog(
  does: (sql: string, params?: readonly Value[]) => void,
  meta: ReadonlyMap<string, Value>,
  role: Role,
): void {
  if (role === "device") return;
  // A log that was lost must not count from 1 again: positions of the old one would seem to lie ahead.
  const horizon = meta.get(metaKeys.horizon);
  const past = Math.max(
    Number(meta.get(metaKeys.indexed) ?? 0),
    typeof horizon === "string" ? Number((JSON.parse(horizon) as readonly number[])[0]) : 0,
  );
  const seq = meta.size === 0 || past === 0 ? 1 : past + 1_000_000_000;
  does(`INSERT INTO ${LOG}(seq, stamp, t, kind, mask) VALUES (?, ${STAMP_SQL}, 0, 0, 0)`, [seq]);
  does(`INSERT OR REPLACE INTO ${META}(k, v) SELECT ?, json_array(seq, stamp) FROM ${LOG} WHERE seq = ?`, [
    metaKeys.horizon,
    seq,
  ]);
  does(...metaWrite(metaKeys.indexed, seq));
}
