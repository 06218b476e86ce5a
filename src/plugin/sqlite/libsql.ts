/**
 * A libSQL client over a local file as an {@link AsyncConnection}. The client keeps a pool of connections, so nothing
 * here rests on the state of one, except inside a transaction, which holds the same one to its end.
 *
 * @module
 */

import type { Value } from "../../protocol/ids.ts";
import type { AsyncConnection, Rows, TransactionMode } from "../core.ts";

/** A statement as libSQL takes it. */
export interface LibsqlStatement {
  readonly sql: string;
  readonly args?: unknown;
}

/** What libSQL answers. */
export interface LibsqlResult {
  readonly columns: readonly string[];
  readonly rows: readonly ArrayLike<unknown>[];
  readonly rowsAffected: number;
}

/** What both a client and a transaction of libSQL execute. */
export interface LibsqlExecutor {
  execute(statement: LibsqlStatement | string, args?: unknown): Promise<LibsqlResult>;
  executeMultiple(sql: string): Promise<void>;
}

/** A transaction of libSQL, as far as it is used here. */
export interface LibsqlTransaction extends LibsqlExecutor {
  batch(statements: readonly unknown[]): Promise<LibsqlResult[]>;
  commit(): Promise<void>;
  rollback(): Promise<void>;
  close(): void;
  readonly closed: boolean;
}

/** A client of libSQL, as far as it is used here. */
export interface LibsqlClient extends LibsqlExecutor {
  batch(statements: readonly unknown[], mode?: string): Promise<LibsqlResult[]>;
  migrate(statements: readonly unknown[]): Promise<LibsqlResult[]>;
  transaction(mode?: string): Promise<LibsqlTransaction>;
  sync(): Promise<unknown>;
  reconnect?(): unknown;
  close(): void;
  readonly closed: boolean;
  readonly protocol: string;
}

/** Makes a connection of a client. It does not close it. `writers` is shared with whoever else writes through the client. */
export function libsqlConnection(client: LibsqlClient, writers: Turns): AsyncConnection {
  return {
    ...libsqlExecutor(client),
    async transaction<T>(mode: TransactionMode, body: (connection: AsyncConnection) => Promise<T>): Promise<T> {
      return await inTransaction(client, writers, mode, (transaction) =>
        body({ ...libsqlExecutor(transaction), transaction: nested }),
      );
    },
  };
}

/** Runs `body` in a transaction of the client: committed when it resolves, rolled back when it rejects. */
export async function inTransaction<T>(
  client: LibsqlClient,
  writers: Turns,
  mode: TransactionMode,
  body: (transaction: LibsqlTransaction) => Promise<T>,
): Promise<T> {
  if (mode === "read") return await perform(await client.transaction("deferred"), mode, body);
  const done = await writers.take();
  try {
    return await perform(await client.transaction("write"), mode, body);
  } finally {
    done();
  }
}

async function perform<T>(
  transaction: LibsqlTransaction,
  mode: TransactionMode,
  body: (transaction: LibsqlTransaction) => Promise<T>,
): Promise<T> {
  try {
    const isApplying = mode === "apply" || mode === "page";
    const foreignKeys = isApplying && (await transaction.execute("PRAGMA foreign_keys")).rows[0]?.[0] === 1;
    // The pragma works outside a transaction only, and no other call would get this very connection again.
    if (foreignKeys) await transaction.executeMultiple("COMMIT; PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE");
    let result: T;
    try {
      result = await body(transaction);
    } catch (error) {
      if (foreignKeys && !transaction.closed)
        await transaction.executeMultiple("ROLLBACK; PRAGMA foreign_keys = ON; BEGIN");
      throw error;
    }
    if (foreignKeys) await transaction.executeMultiple("COMMIT; PRAGMA foreign_keys = ON; BEGIN");
    await transaction.commit();
    return result;
  } finally {
    // Rolls back what is still open.
    transaction.close();
  }
}

/** How long a writer waits for the one before it, and for those of other processes. */
export const waitForWriterMs = 5000;

/** Writers one after the other. */
export interface Turns {
  /** Resolves when it is one's turn, with the function that ends it. After {@link waitForWriterMs} it is everybody's turn. */
  take(): Promise<() => void>;
}

/** The writer that came last to a file. */
interface Queue {
  last: Promise<void> | undefined;
}

/** The queues of this process by file, shared by all copies of this package: hot reload makes several. */
const queuesSymbol = Symbol.for("drizzle-sync.libsql.writers");

/**
 * Lets writers to one file wait for each other, also those of other clients in this process. libSQL does not wait for a
 * lock, and where SQLite does, it halts the process, the writer that it waits for included: without this, two transactions
 * of one process would fail each other, and a connection that met a lock cannot commit until its failed statement has
 * been collected as garbage.
 */
export function createTurns(client: LibsqlClient): Turns {
  let opening: Promise<Queue> | undefined;
  const open = async (): Promise<Queue> => {
    // Other processes' locks SQLite can wait for; libSQL has that off unless its client was given a `timeout`.
    await client.execute(`PRAGMA busy_timeout = ${waitForWriterMs}`);
    const { rows } = await client.execute("SELECT file FROM pragma_database_list WHERE name = 'main'");
    const file = rows[0]?.[0];
    return typeof file === "string" && file !== "" ? queueOf(file) : { last: undefined };
  };
  const queued = async (): Promise<Queue> => {
    opening ??= open();
    try {
      return await opening;
    } catch (error) {
      opening = undefined;
      throw error;
    }
  };
  return {
    async take() {
      const queue = await queued();
      const before = queue.last;
      let done = (): void => {};
      queue.last = new Promise((resolve) => {
        done = resolve;
      });
      let timer: ReturnType<typeof setTimeout> | undefined;
      // Whoever uses `db` inside a transaction of their own would wait for ever; the driver then says what is wrong.
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, waitForWriterMs);
      });
      await Promise.race([before, late]);
      clearTimeout(timer);
      return done;
    },
  };
}

function queueOf(file: string): Queue {
  const holder = globalThis as { [queuesSymbol]?: Map<string, Queue> };
  const queues = (holder[queuesSymbol] ??= new Map<string, Queue>());
  const known = queues.get(file);
  if (known !== undefined) return known;
  const queue: Queue = { last: undefined };
  queues.set(file, queue);
  return queue;
}

/** Statements on a client or on a transaction. */
export function libsqlExecutor(target: LibsqlExecutor): Pick<AsyncConnection, "kind" | "all" | "run" | "each"> {
  const execute = (sql: string, params: readonly Value[]): Promise<LibsqlResult> =>
    target.execute(bindStatement(sql, params));
  const all = async (sql: string, params: readonly Value[]): Promise<Rows> => {
    try {
      return rowsOf(await execute(sql, params));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      return await readExactly(target, sql, params);
    }
  };
  return {
    kind: "async",
    all,
    async run(sql, params) {
      const result = await execute(sql, params);
      return result.rows.length > 0 ? result.rows.length : result.rowsAffected;
    },
    async each(sql, rows) {
      let changes = 0;
      for (const params of rows) changes += (await execute(sql, params)).rowsAffected;
      return changes;
    },
  };
}

function nested(): Promise<never> {
  return Promise.reject(new Error("A transaction of the library cannot begin inside another one."));
}

function rowsOf(result: LibsqlResult): Rows {
  return result.rows.map((row) => Array.from(row, readValue));
}

function readValue(value: unknown): Value {
  if (typeof value === "bigint")
    return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  // The driver gives null, numbers, texts and the above.
  return value as Value;
}

/** A statement with its values bound so that whole numbers stay integers. libSQL binds no infinities: they are written out. */
function bindStatement(sql: string, params: readonly Value[]): LibsqlStatement {
  const args = params.map((value) =>
    typeof value === "number" && Number.isSafeInteger(value) ? BigInt(value) : value,
  );
  if (!args.some((value) => typeof value === "number" && !Number.isFinite(value))) return { sql, args };
  let i = 0;
  const kept: Value[] = [];
  const text = sql.replace(/"(?:[^"]|"")*"|'(?:[^']|'')*'|\?/g, (part) => {
    if (part !== "?") return part;
    const value = args[i++] ?? null;
    if (typeof value === "number" && !Number.isFinite(value))
      return value > 0 ? "9e999" : value < 0 ? "-9e999" : "NULL";
    kept.push(value);
    return "?";
  });
  return { sql: text, args: kept };
}

/**
 * Reads again what has integers beyond 2^53: the client throws at them unless the app has set `intMode`. Integers are read
 * as texts, each beside its storage class.
 */
async function readExactly(target: LibsqlExecutor, sql: string, params: readonly Value[]): Promise<Rows> {
  const { columns } = await target.execute(bindStatement(`SELECT * FROM (${sql}) LIMIT 0`, params));
  const names = columns.map((_, i) => `v${i}`);
  const exact = names.map(
    (name) => `CASE typeof(${name}) WHEN 'integer' THEN CAST(${name} AS TEXT) ELSE ${name} END, typeof(${name})`,
  );
  const result = await target.execute(
    bindStatement(`WITH q(${names.join(", ")}) AS MATERIALIZED (${sql}) SELECT ${exact.join(", ")} FROM q`, params),
  );
  return rowsOf(result).map((row) =>
    names.map((_, i): Value => {
      const value = row[i * 2] ?? null;
      return row[i * 2 + 1] === "integer" ? readValue(BigInt(String(value))) : value;
    }),
  );
}
