/**
 * The worker's connection: prepared statements cached by their text, values read and bound over the raw exports, and the
 * tables that statements wrote. Everything answers at once; who may speak when is the gate's business.
 *
 * Rows are written by a prepared loop. What makes it slow in WebAssembly is not SQLite but the object-oriented layer's
 * binding, with an allocation and a copy for every text: with texts written once into a piece of memory that SQLite reads in
 * place, it is twice as fast as passing chunks of rows through `json_each`, which had been the faster way.
 *
 * @module
 */

import type { Value } from "../../../protocol/ids.ts";
import type { Rows, SyncConnection } from "../../../plugin/core.ts";
import { createKeyTrials } from "../../../plugin/sqlite/key-trials.ts";
import { transactSync, type TransactionParts } from "../../../plugin/sqlite/transactions.ts";
import type { Oo1Database, Oo1Statement, Sqlite } from "./sqlite-module.ts";

/** What a page gets for a statement. */
export interface StatementResult {
  readonly rows: Value[][];
  readonly changes: number;
}

/** The connection of the worker that owns the file. */
export interface WorkerConnection extends SyncConnection {
  /** What its transactions are made of. */
  readonly parts: TransactionParts;
  /** Executes one statement and gives its rows and how many it changed. */
  execute(sql: string, params: readonly unknown[]): StatementResult;
  /** Executes statements without parameters or results (pragmas, migrations). */
  script(sql: string): void;
  /** Whether the statement neither writes nor opens or closes a transaction. */
  isReader(sql: string): boolean;
  /** The tables that a statement reads, those behind views, triggers and covering indexes included. */
  tablesRead(sql: string): ReadonlySet<string>;
  /** The tables written since the last call, by their names in SQL. Call it after a commit. */
  takeWritten(): ReadonlySet<string>;
  /** Whether anything was written since the last call of {@link takeWritten}. */
  readonly hasWritten: boolean;
  /** Forgets what was written, after a rollback. */
  dropWritten(): void;
  readonly inTransaction: boolean;
  close(): void;
}

/** An error of SQLite, with the extended result code by name, as better-sqlite3 gives it. */
export interface SqliteError extends Error {
  readonly code: string;
}

const INTEGER = 1;
const FLOAT = 2;
const TEXT = 3;
const BLOB = 4;
const ROW = 100;
const DONE = 101;
/** What is bound stays where it is until the statement was stepped. */
const STATIC = 0;
const SHORT_TEXT = 64;
const MAX_STATEMENTS = 300;
const CONTROL = /^\s*(?:begin|commit|end|rollback|savepoint|release|pragma|attach|detach|vacuum)\b/i;

interface Prepared {
  readonly handle: Oo1Statement;
  readonly pointer: number;
  readonly parameters: number;
  /** Tables written, found when the statement first changed something. */
  written?: readonly string[];
}

/** Opens a connection over a database of the WebAssembly build. The caller has set the pragmas. */
export function createWorkerConnection(sqlite: Sqlite, database: Oo1Database): WorkerConnection {
  const { capi, wasm } = sqlite;
  const c = wasm.exports;
  const prepared = new Map<string, Prepared>();
  const trials = createKeyTrials(() => c.sqlite3_total_changes(database.pointer));
  let written = new Set<string>();
  /** Where it is and how large, where its next text and its next blob go, and whether the texts lie there already. */
  const room = { at: 0, bytes: 0, text: 0, blob: 0, isWritten: false };
  let heap = wasm.heap8u();
  const encoder = new TextEncoder();
  const decoder = new TextDecoder();

  function failure(sql: string): SqliteError {
    const code = capi.sqlite3_js_rc_str(c.sqlite3_extended_errcode(database.pointer)) ?? "SQLITE_ERROR";
    const error = new Error(capi.sqlite3_errmsg(database.pointer), { cause: { sql } });
    const failed = Object.assign(error, { name: "SqliteError", code });
    trials.failed(failed);
    return failed;
  }

  function prepare(sql: string): Prepared {
    let statement = prepared.get(sql);
    if (statement) {
      // The least recently used one comes first.
      prepared.delete(sql);
      prepared.set(sql, statement);
      return statement;
    }
    let handle: Oo1Statement;
    try {
      handle = database.prepare(sql);
    } catch (cause) {
      if (c.sqlite3_extended_errcode(database.pointer) === 0) throw cause;
      throw failure(sql);
    }
    const pointer = handle.pointer;
    statement = {
      handle,
      pointer,
      parameters: c.sqlite3_bind_parameter_count(pointer),
    };
    prepared.set(sql, statement);
    if (prepared.size > MAX_STATEMENTS) {
      const [oldest, victim] = prepared.entries().next().value as [string, Prepared];
      prepared.delete(oldest);
      victim.handle.finalize();
    }
    return statement;
  }

  /**
   * Makes room for the texts and blobs of one row, and writes the texts. They are bound without copying, so the room must
   * not move before the row has been stepped; the memory itself may grow, so the view is taken anew.
   */
  function makeRoom(params: readonly unknown[]): void {
    let texts = "";
    let blobs = 0;
    for (let index = 0; index < params.length; index++) {
      const value = params[index];
      if (typeof value === "string") texts += value;
      else if (typeof value === "object" && value !== null) blobs += (value as Partial<Uint8Array>).byteLength ?? 0;
    }
    const bytes = texts.length * 3 + blobs;
    // A null pointer would bind NULL, also for an empty text.
    if (bytes > room.bytes || room.at === 0) {
      if (room.at) c.sqlite3_free(room.at);
      room.bytes = Math.max(4096, 2 ** Math.ceil(Math.log2(bytes)));
      room.at = c.sqlite3_malloc(room.bytes);
      if (!room.at) {
        room.bytes = 0;
        throw Object.assign(new Error("out of memory"), { name: "SqliteError", code: "SQLITE_NOMEM" });
      }
    }
    heap = wasm.heap8u();
    room.text = room.at;
    room.blob = room.at + texts.length * 3;
    room.isWritten = texts.length > SHORT_TEXT && writeAll(texts);
  }

  /** Writes all texts of a row in one call. False unless all is ASCII: only then it is known where each of them lies. */
  function writeAll(texts: string): boolean {
    return encoder.encodeInto(texts, heap.subarray(room.at, room.at + texts.length)).read === texts.length;
  }

  function bindText(pointer: number, index: number, text: string): number {
    const at = room.text;
    const bytes = room.isWritten ? text.length : writeText(text, at);
    room.text += bytes;
    return c.sqlite3_bind_text(pointer, index, at, bytes, STATIC);
  }

  /** Encodes into the heap; short texts of ASCII by hand, since a call of the encoder costs more than they do. */
  function writeText(text: string, at: number): number {
    const { length } = text;
    let index = 0;
    if (length <= SHORT_TEXT) {
      for (; index < length; index++) {
        const code = text.charCodeAt(index);
        if (code > 127) break;
        heap[at + index] = code;
      }
      if (index === length) return length;
    }
    return encoder.encodeInto(text, heap.subarray(at, room.at + room.bytes)).written;
  }

  function bindBlob(pointer: number, index: number, bytes: Uint8Array): number {
    // A null pointer would bind NULL.
    if (bytes.length === 0) return c.sqlite3_bind_zeroblob(pointer, index, 0);
    const at = room.blob;
    heap.set(bytes, at);
    room.blob += bytes.length;
    return c.sqlite3_bind_blob(pointer, index, at, bytes.length, STATIC);
  }

  function bindOne(pointer: number, index: number, value: unknown): number {
    switch (typeof value) {
      case "string":
        return bindText(pointer, index, value);
      case "number":
        if (value === (value | 0) && !(value === 0 && 1 / value < 0)) return c.sqlite3_bind_int(pointer, index, value);
        if (Number.isSafeInteger(value) && value !== 0) return c.sqlite3_bind_int64(pointer, index, BigInt(value));
        return c.sqlite3_bind_double(pointer, index, value);
      case "bigint":
        if (BigInt.asIntN(64, value) !== value) throw new RangeError("The integer does not fit into 64 bits.");
        return c.sqlite3_bind_int64(pointer, index, value);
      case "boolean":
        return c.sqlite3_bind_int(pointer, index, value ? 1 : 0);
      case "undefined":
        return c.sqlite3_bind_null(pointer, index);
      default:
        if (value === null) return c.sqlite3_bind_null(pointer, index);
        if (value instanceof Date) return bindOne(pointer, index, value.getTime());
        if (value instanceof ArrayBuffer) return bindBlob(pointer, index, new Uint8Array(value));
        if (ArrayBuffer.isView(value))
          return bindBlob(pointer, index, new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
        throw new TypeError("A parameter is neither null, a number, a bigint, a string, a boolean, a Date nor bytes.");
    }
  }

  function bind(statement: Prepared, params: readonly unknown[], sql: string): void {
    if (params.length !== statement.parameters) {
      throw new RangeError(`The statement has ${statement.parameters} parameters, ${params.length} were given.`, {
        cause: { sql },
      });
    }
    makeRoom(params);
    for (let index = 0; index < params.length; index++) {
      if (bindOne(statement.pointer, index + 1, params[index]) !== 0) throw failure(sql);
    }
  }

  function readCell(pointer: number, index: number): Value {
    switch (c.sqlite3_column_type(pointer, index)) {
      case INTEGER: {
        const value = c.sqlite3_column_double(pointer, index);
        return Number.isSafeInteger(value) ? value : c.sqlite3_column_int64(pointer, index);
      }
      case FLOAT:
        return c.sqlite3_column_double(pointer, index);
      case TEXT: {
        const at = c.sqlite3_column_text(pointer, index);
        return decoder.decode(wasm.heap8u().subarray(at, at + c.sqlite3_column_bytes(pointer, index)));
      }
      case BLOB: {
        const at = c.sqlite3_column_blob(pointer, index);
        return wasm.heap8u().slice(at, at + c.sqlite3_column_bytes(pointer, index));
      }
      default:
        return null;
    }
  }

  /** Binds, steps to the end, resets. Rows are collected only where they are wanted. */
  function stepAll(sql: string, statement: Prepared, params: readonly unknown[], rows: Value[][] | undefined): number {
    const before = c.sqlite3_total_changes(database.pointer);
    try {
      bind(statement, params, sql);
      for (;;) {
        const code = c.sqlite3_step(statement.pointer);
        if (code === DONE) break;
        if (code !== ROW) throw failure(sql);
        if (!rows) continue;
        const row: Value[] = [];
        // Stepping compiles a statement anew when the schema has changed, so only now its columns are known.
        const columns = c.sqlite3_column_count(statement.pointer);
        for (let index = 0; index < columns; index++) row.push(readCell(statement.pointer, index));
        rows.push(row);
      }
    } finally {
      c.sqlite3_reset(statement.pointer);
      c.sqlite3_clear_bindings(statement.pointer);
    }
    if (c.sqlite3_total_changes(database.pointer) === before) return 0;
    noteWritten(sql, statement);
    const changes = c.sqlite3_changes(database.pointer);
    trials.changed(changes);
    return changes;
  }

  function noteWritten(sql: string, statement: Prepared): void {
    statement.written ??= tablesUsed(sql, true);
    for (const table of statement.written) written.add(table);
  }

  function tablesUsed(sql: string, writes: boolean): string[] {
    // A query that a covering index answers names the index alone.
    const rows: Value[][] = [];
    stepAll(TABLES_USED, prepare(TABLES_USED), [sql, writes ? 1 : 0], rows);
    return rows.map(([name]) => String(name));
  }

  function execute(sql: string, params: readonly unknown[]): StatementResult {
    const rows: Value[][] = [];
    const changes = stepAll(sql, prepare(sql), params, rows);
    return { rows, changes };
  }

  function run(sql: string, params: readonly unknown[]): number {
    return stepAll(sql, prepare(sql), params, undefined);
  }

  function script(sql: string): void {
    try {
      database.exec(sql);
    } catch (cause) {
      if (c.sqlite3_extended_errcode(database.pointer) === 0) throw cause;
      throw failure(sql);
    }
  }

  function each(sql: string, rows: readonly (readonly Value[])[]): number {
    const statement = prepare(sql);
    const { pointer } = statement;
    const before = c.sqlite3_total_changes(database.pointer);
    let changes = 0;
    let total = before;
    try {
      for (const row of rows) {
        bind(statement, row, sql);
        let code: number;
        do code = c.sqlite3_step(pointer);
        while (code === ROW);
        if (code !== DONE) throw failure(sql);
        c.sqlite3_reset(pointer);
        const now = c.sqlite3_total_changes(database.pointer);
        if (now === total) continue;
        total = now;
        const changed = c.sqlite3_changes(database.pointer);
        changes += changed;
        trials.changed(changed);
      }
    } finally {
      c.sqlite3_reset(pointer);
      c.sqlite3_clear_bindings(pointer);
    }
    if (total !== before) noteWritten(sql, statement);
    return changes;
  }

  const parts: TransactionParts = {
    execute: (sql) => void run(sql, []),
    isOpen: () => c.sqlite3_get_autocommit(database.pointer) === 0,
    // The engine's own database always does.
    enforcesKeys: () => true,
    enforceKeys: (on) => script(`PRAGMA foreign_keys = ${on ? "ON" : "OFF"}`),
    trials,
  };

  return {
    kind: "sync",
    all: (sql, params): Rows => execute(sql, params).rows,
    run,
    each,
    parts,
    transaction(mode, body) {
      try {
        return transactSync(parts, mode, body);
      } catch (error) {
        written.clear();
        throw error;
      }
    },
    execute,
    script,
    isReader: (sql) => c.sqlite3_stmt_readonly(prepare(sql).pointer) !== 0 && !CONTROL.test(sql),
    tablesRead: (sql) => new Set(tablesUsed(sql, false)),
    takeWritten: () => {
      const tables = written;
      written = new Set();
      return tables;
    },
    get hasWritten() {
      return written.size > 0;
    },
    dropWritten: () => written.clear(),
    get inTransaction() {
      return c.sqlite3_get_autocommit(database.pointer) === 0;
    },
    close: () => {
      for (const statement of prepared.values()) statement.handle.finalize();
      prepared.clear();
      if (room.at) c.sqlite3_free(room.at);
      room.at = 0;
      room.bytes = 0;
      database.close();
    },
  };
}

const TABLES_USED =
  "SELECT DISTINCT coalesce(s.tbl_name, u.name) FROM tables_used(?) AS u " +
  "LEFT JOIN sqlite_schema AS s ON s.name = u.name WHERE u.schema = 'main' AND (u.wr = 1) = ?";
