/**
 * `db.$sync.onChange`: committed changes of rows, with the rows as they are now, typed as Drizzle selects them. A row that
 * changed several times is told once; one that came and went, not at all.
 *
 * @module
 */

import { keyText } from "../protocol/key.ts";
import type { Key } from "../protocol/ids.ts";
import { rethrowLater } from "./commits.ts";
import { stepAsync, stepSync, type Core } from "./core.ts";
import { toDrizzleRow } from "./drizzle-row.ts";
import { readChangedKeys, readHeadSeq, readHorizon, readHorizonTime } from "./oplog.ts";
import { readRows } from "./rows.ts";
import type { ChangedRow, SyncDatabase } from "./sync-database.ts";
import type { SyncColumn, SyncTable } from "./table.ts";

/** A change as the app gets it; `ChangeOf` in `with-sync.ts` is its typed form. */
export type RowChange =
  | { readonly table: string; readonly kind: "insert" | "update"; readonly row: Readonly<Record<string, unknown>> }
  | { readonly table: string; readonly kind: "delete"; readonly key: Readonly<Record<string, unknown>> };

/** What is known of the changes that a listener is told of. */
export interface ChangeInfo {
  /**
   * False when changes went by untold: the log was trimmed, or lost, before they could be read, as when the process was
   * stopped for longer than the log reaches. Any row may have changed; read the tables anew.
   */
  readonly isComplete: boolean;
}

interface Collected extends ChangeInfo {
  readonly changes: readonly RowChange[];
}

const entriesAtOnce = 5000;
const nothing: Collected = { changes: [], isComplete: true };

/** Tells of changes of some tables from now on; returns the function that ends it. */
export function watchChanges(
  sync: SyncDatabase,
  tables: readonly string[],
  listener: (changes: readonly RowChange[], info: ChangeInfo) => void,
): () => void {
  const { connection } = sync;
  const wanted = new Set(tables);
  let position: number | undefined;
  // Rows of commits that could not be told of yet.
  let left: readonly ChangedRow[] = [];
  function* start(): Core<void> {
    position ??= yield* readHeadSeq(sync);
  }
  function* collect(applied: readonly ChangedRow[]): Core<Collected> {
    left = left.length === 0 ? applied : [...left, ...applied];
    const from = position;
    try {
      yield* start();
      const collected = yield* collectSince(left);
      left = [];
      return collected;
    } catch (error) {
      // The next commit tells of it.
      position = from;
      throw error;
    }
  }
  function* collectSince(applied: readonly ChangedRow[]): Core<Collected> {
    const from = position ?? 0;
    const nets = new Map<string, Net>();
    for (const { table: name, kind, key } of applied) {
      const table = sync.tableByKey.get(name);
      if (table !== undefined && wanted.has(name)) take(nets, table, kind, key);
    }
    const head = yield* readHeadSeq(sync);
    // Pages are not in the log; nothing that was there can have gone from it.
    if (head === from) return { changes: yield* readChanges(nets), isComplete: true };
    let reached = from;
    for (;;) {
      const entries = yield* readChangedKeys(sync, reached, entriesAtOnce);
      for (const { seq, table, kind, key } of entries) {
        reached = seq;
        if (kind !== "moved" && wanted.has(table.key)) take(nets, table, kind, key);
      }
      if (entries.length < entriesAtOnce) break;
    }
    // Past the rows that close transactions, too. A log that was lost with everything of ours counts from 1 again.
    position = nets.size === 0 ? head : Math.max(reached, head);
    // Looked at last: what is trimmed while we read is noticed.
    const isComplete = from >= (yield* readHorizon()).seq || (from === 0 && (yield* readHorizonTime()) === undefined);
    return { changes: yield* readChanges(nets), isComplete };
  }
  const tell = ({ changes, isComplete }: Collected): void => {
    if (changes.length > 0 || !isComplete) listener(changes, { isComplete });
  };
  if (connection.kind === "sync") {
    stepSync(connection, start());
    const hear = (_tables: ReadonlySet<string>, applied: readonly ChangedRow[]): void => {
      let collected = nothing;
      try {
        collected = stepSync(connection, collect(applied));
      } catch (error) {
        sync.reported(error);
      }
      tell(collected);
    };
    return sync.onCommit(hear, { rows: true });
  }
  // One after the other, in the order of the commits.
  let last: Promise<void> = stepAsync(connection, start()).catch(sync.reported);
  let isStopped = false;
  const stop = sync.onCommit(
    (_tables, applied) => {
      last = last.then(async () => {
        let collected = nothing;
        try {
          collected = await stepAsync(connection, collect(applied));
        } catch (error) {
          sync.reported(error);
        }
        try {
          if (!isStopped) tell(collected);
        } catch (error) {
          rethrowLater(error);
        }
      });
    },
    { rows: true },
  );
  return () => {
    isStopped = true;
    stop();
  };
}

interface Net {
  readonly table: SyncTable;
  readonly key: Key;
  readonly isNew: boolean;
}

function take(nets: Map<string, Net>, table: SyncTable, kind: "insert" | "update" | "delete", key: Key): void {
  const text = `${table.key}\n${keyText(key)}`;
  if (!nets.has(text)) nets.set(text, { table, key, isNew: kind === "insert" });
}

function* readChanges(nets: ReadonlyMap<string, Net>): Core<readonly RowChange[]> {
  const changes: RowChange[] = [];
  const byTable = new Map<SyncTable, Net[]>();
  for (const net of nets.values()) {
    const list = byTable.get(net.table);
    if (list === undefined) byTable.set(net.table, [net]);
    else list.push(net);
  }
  for (const [table, list] of byTable) {
    const columns = othersOf(table);
    const keys = list.map((net) => net.key);
    const live = new Map((yield* readRows(table, columns, keys)).map((row) => [keyText(row.key), row]));
    for (const { key, isNew } of list) {
      const row = live.get(keyText(key));
      if (row !== undefined) {
        changes.push({
          table: table.key,
          kind: isNew ? "insert" : "update",
          row: toDrizzleRow([...table.keyColumns, ...columns], [...row.key, ...row.values]),
        });
      } else if (!isNew) {
        changes.push({ table: table.key, kind: "delete", key: toDrizzleRow(table.keyColumns, key) });
      }
    }
  }
  return changes;
}

const others = new WeakMap<SyncTable, readonly SyncColumn[]>();

/** The columns besides the key: always the same list, since statements are kept by it. */
function othersOf(table: SyncTable): readonly SyncColumn[] {
  let columns = others.get(table);
  if (columns === undefined) others.set(table, (columns = table.columns.filter((column) => !column.isKey)));
  return columns;
}
