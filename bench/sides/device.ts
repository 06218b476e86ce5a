/**
 * The device of every benchmark that needs one: ours as an app sets it up, or the leanest loop that does the same.
 */
import { createHash } from "node:crypto";
import { Agent } from "node:http";
import { gzipSync } from "node:zlib";
import type Database from "better-sqlite3";
import { eq, inArray } from "drizzle-orm";
import { createSyncClient, httpTransport, SyncError, type SyncClient, type Transport } from "drizzle-sync/client";
import { todos, toTodo, type StoredTodo } from "../data.ts";
import { cpuMs, memory, serve, sharedNow } from "../remote.ts";
import { closeFile, openFile, openOurs, type Variant } from "./database.ts";
import { leanBootstrap, leanCatchUp, leanFollow, leanWrite } from "./lean.ts";

/** What a timed piece of work took. */
export interface Took {
  readonly ms: number;
  readonly cpuMs: number;
}

/** What a device does besides. */
export interface DeviceOptions {
  /** Weighs the bodies of all requests and answers, which travel as they are. */
  readonly weighs?: boolean;
  /** Its pushes come to nothing. */
  readonly refusesPushes?: boolean;
  /** Opens a stream when it is in step. */
  readonly isLive?: boolean;
}

let variant: Variant;
let sqlite: Database.Database;
let url: string;
let db: ReturnType<typeof openOurs>;
let client: SyncClient;
const agent = new Agent({ keepAlive: true });
let firstPullAt: number | undefined;
let arrivals: [id: string, at: number][] = [];
const bodies = { raw: 0, gzip: 0, count: 0 };

function size(body: Uint8Array, gzips: boolean): void {
  bodies.count++;
  bodies.raw += body.byteLength;
  if (gzips) bodies.gzip += gzipSync(body, { level: 6 }).byteLength;
}

/** Sends requests and weighs their bodies, which travel as they are. */
async function weigh(target: string, init: RequestInit): Promise<Response> {
  size(init.body as Uint8Array, true);
  const response = await fetch(target, init);
  const body = new Uint8Array(await response.arrayBuffer());
  size(body, true);
  return new Response(body, { status: response.status, headers: response.headers });
}

async function timed(work: () => Promise<void>): Promise<Took> {
  const cpu = cpuMs();
  const started = performance.now();
  await work();
  return { ms: performance.now() - started, cpuMs: cpuMs() - cpu };
}

const commands = {
  /** Opens a file and gets everything ready; nothing is sent. */
  async open(which: Variant, file: string, to: string, options: DeviceOptions = {}): Promise<void> {
    variant = which;
    url = to;
    sqlite = openFile(file);
    if (variant === "lean") return;
    db = openOurs(sqlite);
    await db.$sync.ready;
    const http = httpTransport({
      url,
      compress: false,
      ...(options.weighs ? { fetch: weigh } : options.isLive ? { agent } : {}),
    });
    const { live: _live, ...silent } = http;
    const transport: Transport = options.isLive ? http : silent;
    const push: Transport["push"] = options.refusesPushes
      ? () => Promise.reject(new SyncError({ code: "UNAVAILABLE", message: "Not now." }))
      : http.push;
    const pull: Transport["pull"] = (...call) => {
      firstPullAt ??= performance.now();
      return http.pull(...call);
    };
    client = createSyncClient({ db, transport: { ...transport, push, pull } });
  },
  /** From `start()` until everything is durable and visible, and nothing waits. */
  sync: (isEmpty: boolean): Promise<Took> =>
    timed(async () => {
      if (variant === "lean") return isEmpty ? leanBootstrap(sqlite, url) : leanCatchUp(sqlite, url);
      await new Promise<void>((resolve, reject) => {
        const stop = client.subscribe((state) => {
          if (state.status === "error") reject(state.error ?? new Error("The client stopped."));
          if (state.status === "synced" && state.pending === 0) {
            stop();
            resolve();
          }
        });
        begin();
      });
      client.pause();
    }),
  /** Milliseconds from the first pull until its round was applied; what is pending was not taken before, and stays so. */
  async pull(): Promise<number> {
    const before = client.state.cursor;
    firstPullAt = undefined;
    await new Promise<void>((resolve) => {
      const stop = client.subscribe((state) => {
        if (state.cursor === before) return;
        stop();
        resolve();
      });
      begin();
    });
    const took = performance.now() - (firstPullAt ?? Number.NaN);
    client.pause();
    return took;
  },
  /** Transactions of one row each, offline. */
  insert(rows: readonly StoredTodo[]): void {
    for (const row of rows) db.insert(todos).values(toTodo(row)).run();
  },
  /** One-row updates, offline; for rows by key. */
  update(ids: readonly string[]): void {
    for (const id of ids) db.update(todos).set({ priority: 7 }).where(eq(todos.id, id)).run();
  },
  /** Takes what comes from now on, and notes when each row is visible. */
  async follow(): Promise<void> {
    arrivals = [];
    if (variant === "lean") return leanFollow(sqlite, url, (id, at) => void arrivals.push([id, at]));
    db.$sync.onChange(["todos"], (changes) => {
      const at = sharedNow();
      for (const change of changes) if (change.kind !== "delete") arrivals.push([change.row.id, at]);
    });
    await live();
  },
  live,
  arrivals: () => arrivals,
  /** Writes rows one by one, `everyMs` apart, and answers when each was begun. */
  async write(rows: readonly StoredTodo[], everyMs: number): Promise<readonly (readonly [string, number])[]> {
    const begun: [string, number][] = [];
    for (const row of rows) {
      begun.push([row[0], sharedNow()]);
      if (variant === "lean") void leanWrite(sqlite, url, row);
      else db.insert(todos).values(toTodo(row)).run();
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
    return begun;
  },
  /** A digest of all rows, and their count. */
  digest(): { readonly rows: number; readonly digest: string } {
    const digest = createHash("sha256");
    let rows = 0;
    for (const row of sqlite.prepare("SELECT * FROM todos ORDER BY id").raw().iterate()) {
      digest.update(JSON.stringify(row));
      rows++;
    }
    return { rows, digest: digest.digest("hex") };
  },
  pending: (ids: readonly string[]): number =>
    db
      .select()
      .from(todos)
      .where(inArray(todos.id, [...ids]))
      .all()
      .filter((row) => row.priority === 7).length,
  bodies: () => bodies,
  memory() {
    globalThis.gc?.();
    return memory();
  },
  async close(): Promise<void> {
    if (variant === "ours") await client.close();
    closeFile(sqlite);
  },
};
export type DeviceCommands = typeof commands;

function begin(): void {
  if (client.state.status === "paused") client.resume();
  else client.start();
}

/** Started, in step, and with its stream open. */
async function live(): Promise<void> {
  if (variant === "lean") return;
  client.start();
  await client.sync();
  // The stream opens right after.
  await new Promise((resolve) => setTimeout(resolve, 300));
}

serve(commands);
