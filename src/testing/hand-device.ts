/**
 * A device without an engine, whose messages are built by hand: it knows the protocol's messages and nothing of the
 * client's code. For tests of the server.
 *
 * @module
 */

import type { SyncDatabase } from "../plugin/sync-database.ts";
import { hashSchema, hashScopes, rowHash, seenValue } from "../protocol/hash.ts";
import type { KnownTables } from "../protocol/handshake.ts";
import type { Cursor, DeviceId, Epoch, Value } from "../protocol/ids.ts";
import { keyText } from "../protocol/key.ts";
import type { Outcome } from "../protocol/outcome.ts";
import type { Page, PullAnswer, PullRequest } from "../protocol/pull.ts";
import type {
  Operation,
  OperationShape,
  PushAnswer,
  PushRequest,
  PushTransaction,
  SeenValue,
} from "../protocol/push.ts";
import type { SyncCaller, SyncService } from "../server/service.ts";

type ShownRow = Readonly<Record<string, Value>>;

/** A device without an engine: it keeps its base, numbers its transactions, and sends what it is told to. */
export class HandDevice {
  epoch: Epoch | undefined;
  cursor: Cursor | undefined;
  held: readonly string[] = [];
  wanted: readonly string[] | undefined;
  schema: string;
  baseSchema: string;
  ackedTx = 0;
  limit = 1000;
  lastTx = { number: 0, stamp: 0 };
  /** Rows of the base, by table and key text. */
  readonly base = new Map<string, Map<string, ShownRow>>();
  readonly outcomes: Outcome[] = [];
  /** Pages applied by the last pull. */
  pages: Page[] = [];
  #number = 0;
  #stamp = 1000;

  readonly service: SyncService;
  readonly caller: SyncCaller;
  readonly tables: KnownTables;
  readonly database: SyncDatabase;
  readonly id: DeviceId;

  constructor(service: SyncService, caller: SyncCaller, tables: KnownTables, database: SyncDatabase, id: DeviceId) {
    this.service = service;
    this.caller = caller;
    this.tables = tables;
    this.database = database;
    this.id = id;
    this.schema = hashSchema(tables);
    this.baseSchema = this.schema;
  }

  async handshake() {
    const answer = await this.service.handshake(this.caller, {
      deviceId: this.id,
      protocol: [1],
      schema: { hash: this.schema, tables: this.tables },
      time: 0,
    });
    this.epoch = answer.epoch;
    return answer;
  }

  request(more: Partial<PullRequest> = {}): PullRequest {
    return {
      deviceId: this.id,
      ...(this.epoch === undefined ? {} : { epoch: this.epoch }),
      ...(this.cursor === undefined ? {} : { cursor: this.cursor }),
      held: hashScopes(this.held),
      ...(this.wanted === undefined ? {} : { wanted: this.wanted }),
      schema: this.schema,
      baseSchema: this.baseSchema,
      ackedTx: this.ackedTx,
      limit: this.limit,
      ...more,
    };
  }

  /** One exchange, applied to nothing. */
  ask(more: Partial<PullRequest> = {}): Promise<PullAnswer> {
    return this.service.pull(this.caller, this.request(more));
  }

  /** Pulls until the base is at the head: follows rounds, `need-held`, `reset` and `restart`. Answers what it met. */
  async pull(more: Partial<PullRequest> = {}): Promise<readonly string[]> {
    const met: string[] = [];
    this.pages = [];
    let round: PullRequest["round"];
    let stage: Page[] = [];
    let held: PullRequest["held"] = hashScopes(this.held);
    for (let i = 0; i < 1000; i++) {
      const answer = await this.ask({ held, ...more, ...(round === undefined ? {} : { round }) });
      met.push(answer.kind === "reset" ? `reset ${answer.reason}` : answer.kind);
      if (answer.kind === "need-held") held = this.held;
      else if (answer.kind === "need-schema") await this.handshake();
      else if (answer.kind === "reset") {
        this.epoch = answer.epoch;
        this.cursor = undefined;
      } else if (answer.kind === "restart") {
        round = undefined;
        stage = [];
      } else {
        stage.push(answer);
        round = answer.round;
        if (answer.to === undefined) continue;
        this.apply(stage);
        return met;
      }
    }
    throw new Error(`A pull does not end: ${met.slice(0, 20).join(", ")}`);
  }

  /** Applies the pages of a whole round, as rule A2 says. */
  apply(pages: readonly Page[]): void {
    const last = pages.at(-1) as Page;
    if (last.from === undefined) this.base.clear();
    else if (last.from !== this.cursor) throw new Error("A page that was not computed from this device's state.");
    this.epoch = last.epoch;
    this.held = last.scopes ?? this.held;
    // U1: what is in none of the answer's scopes is dropped; children go with their parents.
    for (const [table, rows] of this.base) {
      for (const [key, row] of rows)
        if (!this.scopesOf(table, row).some((scope) => this.held.includes(scope))) rows.delete(key);
    }
    for (const page of pages) this.write(page);
    this.cursor = last.to;
    this.baseSchema = last.shared ?? last.schema;
    this.lastTx = last.lastTx ?? this.lastTx;
    this.ackedTx = this.lastTx.number;
    this.outcomes.push(...(last.outcomes ?? []));
    this.pages = [...pages];
  }

  write(page: Page): void {
    for (const group of page.changes) {
      const rows = this.base.get(group.table) ?? new Map<string, ShownRow>();
      this.base.set(group.table, rows);
      const keys = (this.database.tableByKey.get(group.table)?.keyColumns ?? []).length;
      for (let i = 0; i < (group.values[0]?.length ?? 0); i++) {
        const values = group.values.map((column) => column[i] ?? null);
        const key = keyText(values.slice(0, keys));
        const row = Object.fromEntries(group.columns.map((column, at) => [column, values[at] ?? null]));
        if (group.kind === "removal") rows.delete(key);
        else if (group.kind === "row") rows.set(key, row);
        else if (rows.has(key)) rows.set(key, { ...rows.get(key), ...row });
      }
    }
  }

  rows(table: string): ShownRow[] {
    return [...(this.base.get(table)?.values() ?? [])];
  }

  row(table: string, id: Value): ShownRow | undefined {
    return this.base.get(table)?.get(keyText([id]));
  }

  scopesOf(table: string, row: ShownRow): readonly string[] {
    switch (table) {
      case "lists":
        return [`list:${row["id"] as string}`];
      case "todos":
        return [
          `list:${row["listId"] as string}`,
          ...(row["assignee"] === null ? [] : [`user:${row["assignee"] as string}`]),
        ];
      case "comments":
      case "replies": {
        const parent = table === "comments" ? "todos" : "comments";
        const above = this.row(parent, row[table === "comments" ? "todoId" : "commentId"] ?? null);
        return above === undefined ? [] : this.scopesOf(parent, above);
      }
      default:
        return ["everyone"];
    }
  }

  // Transactions.

  /** Builds the next transaction. */
  tx(...operations: readonly HandOperation[]): HandTransaction {
    return { number: ++this.#number, stamp: ++this.#stamp, operations };
  }

  insert(table: string, id: Value, values: ShownRow): HandOperation {
    const columns = this.others(table);
    return {
      shape: { table, kind: "insert", columns },
      key: [id],
      values: columns.map((column) => values[column] ?? null),
      before: [],
    };
  }

  /** `changes`: for each column what was seen and what is written. */
  update(
    table: string,
    id: Value,
    changes: Readonly<Record<string, readonly [seen: Value, written: Value]>>,
    row?: ShownRow,
  ): HandOperation {
    const columns = Object.keys(changes);
    return {
      shape: { table, kind: "update", columns },
      key: [id],
      values: columns.map((column) => changes[column]?.[1] ?? null),
      before: columns.map((column) => seenValue(changes[column]?.[0] ?? null, this.form(table, column))),
      ...(row === undefined ? {} : { row: this.others(table).map((column) => row[column] ?? null) }),
    };
  }

  delete(table: string, id: Value, seen: ShownRow, withRow = false): HandOperation {
    const columns = this.others(table);
    const values = columns.map((column) => seen[column] ?? null);
    const hash = rowHash(
      values,
      columns.map((column) => this.form(table, column)),
    );
    return {
      shape: { table, kind: "delete", columns: [] },
      key: [id],
      values: [],
      before: [[hash]],
      ...(withRow ? { row: values } : {}),
    };
  }

  message(txs: readonly HandTransaction[], more: Partial<PushRequest> = {}): PushRequest {
    const shapes: OperationShape[] = [];
    const written = txs.map(
      ({ number, stamp, operations, from, hlc, schema: written = this.schema }): PushTransaction => {
        const ops = operations.map(({ shape, key, values, before, row }): Operation => {
          shapes.push(shape);
          return row === undefined
            ? [shapes.length - 1, key, values, before]
            : [shapes.length - 1, key, values, before, row];
        });
        return { number, stamp, hlc: hlc ?? 1, schema: written, ops, ...(from === undefined ? {} : { from }) };
      },
    );
    const first = txs[0];
    const number = (first?.from ?? first?.number ?? 1) - 1;
    return {
      deviceId: this.id,
      epoch: this.epoch as Epoch,
      previous: { number, stamp: number === 0 ? 0 : this.lastTx.number === number ? this.lastTx.stamp : 1000 + number },
      shapes,
      txs: written,
      ...more,
    };
  }

  push(...txs: readonly HandTransaction[]): Promise<PushAnswer> {
    return this.service.push(this.caller, this.message(txs));
  }

  /** Pushes transactions and pulls; answers the outcomes that came. */
  async sync(...txs: readonly HandTransaction[]): Promise<readonly Outcome[]> {
    const answer = await this.push(...txs);
    if (answer.kind !== "ok") throw new Error(`A push was answered \`${answer.kind}\`.`);
    const before = this.outcomes.length;
    await this.pull();
    return this.outcomes.slice(before);
  }

  others(table: string): readonly string[] {
    const keys = new Set((this.database.tableByKey.get(table)?.keyColumns ?? []).map((column) => column.key));
    return (this.tables[table] ?? []).filter((column) => !keys.has(column));
  }

  form(table: string, column: string) {
    return this.database.tableByKey.get(table)?.columnByKey.get(column)?.form ?? "any";
  }
}

export interface HandOperation {
  readonly shape: OperationShape;
  readonly key: readonly Value[];
  readonly values: readonly Value[];
  readonly before: readonly SeenValue[];
  readonly row?: readonly Value[];
}

export interface HandTransaction {
  readonly number: number;
  readonly stamp: number;
  readonly from?: number;
  readonly hlc?: number;
  readonly schema?: string;
  readonly operations: readonly HandOperation[];
}
