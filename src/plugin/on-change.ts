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
import { readChangedKeys, readHeadSeq } from "./oplog.ts";
import { readRows } from "./rows.ts";
import type { ChangedRow, SyncDatabase } from "./sync-database.ts";
import type { SyncTable } from "./table.ts";

/** A change as the app gets it; `ChangeOf` in `with-sync.ts` is its typed form. */
export type RowChange =
  | { readonly table: string; readonly kind: "insert" | "update"; readonly row: Readonly<Record<string, unknown>> }
  | { readonly table: string; readonly kind: "delete"; readonly key: Readonly<Record<string, unknown>> };

const entriesAtOnce = 5000;

/** Tells of changes of some tables from now on; returns the function that ends it. */
export function watchChanges(
  sync: SyncDatabase,
  tables: readonly string[],
  listener: (changes: readonly RowChange[]) => void,
): () => void {
  const { connection } = sync;
  const wanted = new Set(tables);
  let position: number | undefined;
  // Rows of commits that could not be told of yet.
  let left: readonly ChangedRow[] = [];
  function* start(): Core<void> {
    position ??= yield* readHeadSeq(sync);
  }
  function* collect(applied: readonly ChangedRow[]): Core<readonly RowChange[]> {
    left = left.length === 0 ? applied : [...left, ...applied];
    const from = position;
    try {
      yield* start();
      const changes = yield* collectSince(left);
      left = [];
      return changes;
    } catch (error) {
      // The next commit tells of it.
      position = from;
      throw error;
    }
  }
  function* collectSince(applied: readonly ChangedRow[]): Core<readonly RowChange[]> {
    const nets = new Map<string, Net>();
    for (const { table: name, kind, key } of applied) {
      const table = sync.tableByKey.get(name);
      if (table !== undefined && wanted.has(name)) take(nets, table, kind, key);
    }
    for (;;) {
      const entries = yield* readChangedKeys(sync, position ?? 0, entriesAtOnce);
      for (const { seq, table, kind, key } of entries) {
        position = seq;
        if (kind !== "moved" && wanted.has(table.key)) take(nets, table, kind, key);
      }
      if (entries.length < entriesAtOnce) break;
    }
    // A log that was lost with everything of ours counts from 1 again.
    if (nets.size === 0) position = Math.min(position ?? 0, yield* readHeadSeq(sync));
    return yield* readChanges(nets);
  }
  const tell = (changes: readonly RowChange[]): void => {
    if (changes.length > 0) listener(changes);
  };
  if (connection.kind === "sync") {
    stepSync(connection, start());
    const hear = (_tables: ReadonlySet<string>, applied: readonly ChangedRow[]): void => {
      let changes: readonly RowChange[] = [];
      try {
        changes = stepSync(connection, collect(applied));
      } catch (error) {
        sync.reported(error);
      }
      tell(changes);
    };
    return sync.onCommit(hear, { rows: true });
  }
  // One after the other, in the order of the commits.
  let last: Promise<void> = stepAsync(connection, start()).catch(sync.reported);
  let isStopped = false;
  const stop = sync.onCommit(
    (_tables, applied) => {
      last = last.then(async () => {
        let changes: readonly RowChange[] = [];
        try {
          changes = await stepAsync(connection, collect(applied));
        } catch (error) {
          sync.reported(error);
        }
        try {
          if (!isStopped) tell(changes);
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
    const columns = table.columns.filter((column) => !column.isKey);
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
