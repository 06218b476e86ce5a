/**
 * A device's database that is fed pages by hand, without engine, transport or server.
 *
 * @module
 */

import Database from "better-sqlite3";
import { drizzle, type BetterSQLite3Database } from "drizzle-orm/better-sqlite3";
import { applyPage, basisOf, type Basis, type PageResult } from "../client/apply.ts";
import { requireCheckpoint, type Checkpoint } from "../client/checkpoint.ts";
import { openDevice } from "../client/device-state.ts";
import { deviceSchema } from "../client/device-schema.ts";
import { transact } from "../plugin/core.ts";
import { lastTransaction, readTransactions, type DeviceTransaction } from "../plugin/device-log.ts";
import type { SyncDefinition } from "../plugin/define-sync.ts";
import { syncOf, type SyncDatabase } from "../plugin/sync-database.ts";
import { withSync } from "../plugin/with-sync.ts";
import type { ChangeGroup } from "../protocol/change.ts";
import { formatCursor, makeEpoch, type TxRef } from "../protocol/ids.ts";
import type { Page, RoundState } from "../protocol/pull.ts";
import { readBase, type TableRows } from "./read-base.ts";

/** A fed device. */
export interface DeviceFixture extends Disposable {
  readonly raw: Database.Database;
  readonly db: BetterSQLite3Database<Record<string, unknown>>;
  readonly sync: SyncDatabase;
  /** Applies a page that ends a round. */
  apply(changes: readonly ChangeGroup[], options?: Partial<Page>): Promise<PageResult>;
  /** Stages, or on a first sync writes, a page that is followed by others. */
  stage(changes: readonly ChangeGroup[], options?: Partial<Page>): Promise<PageResult>;
  /** Applies a page to a basis that may not fit. */
  applyTo(basis: Basis, page: Page): Promise<PageResult>;
  page(changes: readonly ChangeGroup[], options?: Partial<Page>): Promise<Page>;
  checkpoint(): Promise<Checkpoint>;
  pending(): Promise<readonly DeviceTransaction[]>;
  last(): Promise<TxRef>;
  base(): Promise<TableRows>;
}

/** Opens a device with the given tables, or again over the database of one that was opened before. */
export async function openDeviceFixture(
  definition: SyncDefinition<Record<string, unknown>>,
  tables: string | Database.Database,
): Promise<DeviceFixture> {
  const raw = typeof tables === "string" ? new Database(":memory:") : tables;
  if (typeof tables === "string") raw.exec(tables);
  const db = withSync(drizzle(raw, { schema: definition.schema }), definition);
  const sync = syncOf(db);
  await sync.install("device");
  await transact(sync.connection, "write", () => openDevice(sync));
  const { hash } = deviceSchema(sync);
  const epoch = makeEpoch();
  let seq = 0;
  const checkpoint = async (): Promise<Checkpoint> => await transact(sync.connection, "read", requireCheckpoint);
  const page = async (changes: readonly ChangeGroup[], options: Partial<Page> = {}): Promise<Page> => {
    const { cursor, handled } = await checkpoint();
    return {
      kind: "page",
      epoch,
      ...(cursor === undefined ? {} : { from: cursor }),
      to: formatCursor({ seq: ++seq, stamp: 1 }),
      scopes: ["everyone"],
      schema: hash,
      changes,
      lastTx: handled,
      ackedTx: handled.number,
      outcomes: [],
      ...options,
    };
  };
  const applyTo = async (basis: Basis, given: Page): Promise<PageResult> =>
    await transact(sync.connection, "apply", () =>
      applyPage(sync, given, basis, { declaration: "0123456789abcdef", nowMs: 1 }),
    );
  const fixture: DeviceFixture = {
    raw,
    db,
    sync,
    page,
    applyTo,
    checkpoint,
    apply: async (changes, options) => await applyTo(basisOf(await checkpoint(), hash), await page(changes, options)),
    async stage(changes, options) {
      const {
        to: _to,
        lastTx: _lastTx,
        ackedTx: _ackedTx,
        outcomes: _outcomes,
        ...part
      } = await page(changes, options);
      const head = formatCursor({ seq: 0, stamp: 0 });
      const round: RoundState = {
        phase: "log",
        scopes: ["everyone"],
        added: [],
        held: ["everyone"],
        fresh: false,
        s0: 0,
        head,
        next: seq,
        baseSchema: hash,
      };
      return await applyTo(basisOf(await checkpoint(), hash), { ...part, round });
    },
    pending: async () => {
      const { handled } = await checkpoint();
      return await transact(sync.connection, "read", () =>
        readTransactions(sync, { after: handled.number, limit: 1000 }),
      );
    },
    last: async () => await transact(sync.connection, "read", lastTransaction),
    base: () => readBase(sync),
    [Symbol.dispose]: () => raw.close(),
  };
  return fixture;
}

/** A group of rows, written row by row. */
export function group(
  table: string,
  kind: ChangeGroup["kind"],
  columns: readonly string[],
  ...rows: readonly ChangeGroup["values"][number][]
): ChangeGroup {
  return { table, kind, columns, values: columns.map((_, i) => rows.map((row) => row[i] ?? null)) };
}
