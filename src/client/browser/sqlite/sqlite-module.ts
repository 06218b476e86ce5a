/**
 * What we use of the official SQLite WebAssembly build, described structurally, so that neither its types nor those of a
 * worker's scope leak into ours. The raw exports are used for stepping and binding: per cell they cost a third of the
 * object-oriented layer, and that layer guesses types that we know.
 *
 * @module
 */

/** The raw C functions. Pointers and sizes are numbers, 64-bit integers are bigints. */
export interface SqliteExports {
  sqlite3_step(statement: number): number;
  sqlite3_reset(statement: number): number;
  sqlite3_clear_bindings(statement: number): number;
  sqlite3_stmt_readonly(statement: number): number;
  sqlite3_bind_null(statement: number, index: number): number;
  sqlite3_bind_int(statement: number, index: number, value: number): number;
  sqlite3_bind_int64(statement: number, index: number, value: bigint): number;
  sqlite3_bind_double(statement: number, index: number, value: number): number;
  sqlite3_bind_text(statement: number, index: number, text: number, bytes: number, destructor: number): number;
  sqlite3_bind_blob(statement: number, index: number, blob: number, bytes: number, destructor: number): number;
  sqlite3_bind_zeroblob(statement: number, index: number, bytes: number): number;
  sqlite3_bind_parameter_count(statement: number): number;
  sqlite3_column_count(statement: number): number;
  sqlite3_column_type(statement: number, index: number): number;
  sqlite3_column_double(statement: number, index: number): number;
  sqlite3_column_int64(statement: number, index: number): bigint;
  sqlite3_column_text(statement: number, index: number): number;
  sqlite3_column_blob(statement: number, index: number): number;
  sqlite3_column_bytes(statement: number, index: number): number;
  sqlite3_changes(database: number): number;
  sqlite3_total_changes(database: number): number;
  sqlite3_get_autocommit(database: number): number;
  sqlite3_extended_errcode(database: number): number;
  sqlite3_malloc(bytes: number): number;
  sqlite3_free(pointer: number): void;
}

/** A prepared statement of the object-oriented layer; we keep it for its pointer and its finalizer. */
export interface Oo1Statement {
  readonly pointer: number;
  finalize(): unknown;
}

/** An open database of the object-oriented layer. */
export interface Oo1Database {
  readonly pointer: number;
  exec(sql: string): unknown;
  prepare(sql: string): Oo1Statement;
  close(): void;
}

/** The pool of files on OPFS that stands in for a directory. */
export interface SahPool {
  readonly OpfsSAHPoolDb: new (path: string) => Oo1Database;
  isPaused(): boolean;
  pauseVfs(): unknown;
  unpauseVfs(): Promise<unknown>;
}

export interface SahPoolOptions {
  readonly name: string;
  readonly directory: string;
  readonly initialCapacity: number;
  /** Keeps the files when the start fails. Without it one failed start deletes the database. */
  readonly preserveOnInitFailure: boolean;
  readonly forceReinitIfPreviouslyFailed: boolean;
  readonly verbosity: number;
}

/** The initialized module. */
export interface Sqlite {
  readonly capi: {
    sqlite3_js_rc_str(code: number): string | undefined;
    sqlite3_errmsg(database: number): string;
    sqlite3_column_name(statement: number, index: number): string;
  };
  readonly wasm: {
    readonly exports: SqliteExports;
    heap8u(): Uint8Array<ArrayBuffer>;
  };
  readonly oo1: { readonly DB: new (path: string, flags?: string) => Oo1Database };
  installOpfsSAHPoolVfs(options: SahPoolOptions): Promise<SahPool>;
}
