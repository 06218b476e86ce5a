/**
 * Capture and sync in the worker that owns the file: the definition's tables over the gated connection, and the engine, which
 * pages drive by calls.
 *
 * The engine is made with the first call of a page, since only pages know its options. It ends with this worker's turn
 * as the leader; what it was told in memory (start, holds) pages tell the next one.
 *
 * @module
 */

import { stepSync } from "../../plugin/core.ts";
import { createSyncDatabase } from "../../plugin/create-sync-database.ts";
import type { SyncDefinition } from "../../plugin/define-sync.ts";
import { closeDeviceTransaction } from "../../plugin/device-log.ts";
import { PREFIX } from "../../plugin/names.ts";
import { SyncError } from "../../protocol/errors.ts";
import { createEngine } from "../engine.ts";
import type { OnlineSource } from "../online.ts";
import type { EngineHold, SyncEngine } from "../sync-engine.ts";
import type { Transport } from "../transport.ts";
import { withToken } from "../with-token.ts";
import { runBundledMigrations, type BundledMigration } from "./bundled-migrations.ts";
import { readDefinition } from "./definition-tables.ts";
import type { Gate } from "./gate.ts";
import { createGatedConnection } from "./gated-connection.ts";
import { toPortError } from "./port-error.ts";
import type { WorkerConnection } from "./sqlite/connection.ts";
import { toPortQueued, toPortState, type PageWishes, type SyncCall, type SyncEvent } from "./sync-calls.ts";

export interface DeviceEngineOptions {
  readonly connection: WorkerConnection;
  readonly gate: Gate;
  readonly sync: SyncDefinition<Record<string, unknown>>;
  readonly migrations: readonly BundledMigration[];
  readonly transport: Transport;
  readonly casing?: "snake_case" | "camelCase";
  /** Asks the pages for a token. */
  readonly askToken: () => Promise<string | null>;
  readonly online: OnlineSource;
  /** Tells all pages. */
  readonly emit: (event: SyncEvent) => void;
  /** Told of the engine's own commits: the tables written, by their names in SQL. */
  readonly onCommit: (tables: ReadonlySet<string>) => void;
}

/** Capture and sync of the open file. */
export interface DeviceEngine {
  /** Closes the captured transaction, inside it. */
  readonly closeTransaction: () => void;
  /** A page committed: the tables written, by their names in SQL. */
  readonly committed: (tables: ReadonlySet<string>) => void;
  readonly call: (client: string, call: SyncCall) => Promise<unknown>;
  /** A tab is gone; its holds are released. */
  readonly clientGone: (client: string) => void;
  readonly close: () => Promise<void>;
}

/** Migrates, installs capture, and stands ready to sync. */
export async function createDeviceEngine(options: DeviceEngineOptions): Promise<DeviceEngine> {
  const { connection, gate, emit } = options;
  const tables = readDefinition(options.sync, options.casing);
  const keyByName = new Map(tables.map((table) => [table.name, table.key]));
  const gated = createGatedConnection(connection, gate, () => {
    const written = connection.takeWritten();
    if (written.has(OUTCOMES)) emit({ kind: "outcomes-changed" });
    options.onCommit(written);
  });
  // Nobody else can write to this file, so there is never anything to look for.
  const database = createSyncDatabase({ tables, connection: gated, isBusy: () => true });
  runBundledMigrations(connection, database, options.migrations);
  await database.install("device");

  let engine: SyncEngine | undefined;
  let stopTelling = (): void => {};
  let isListening = false;
  const holds = new Map<string, { readonly client: string; readonly hold: EngineHold }>();
  /** Questions that were asked again of this leader before it was told of the hold. */
  const early = new Map<string, EarlyQuestion>();

  function open(wishes: PageWishes): SyncEngine {
    if (engine) return engine;
    engine = createEngine({
      ...wishes.engine,
      sync: database,
      transport: lasting(wishes.hasToken ? withToken(options.transport, options.askToken) : options.transport),
      online: options.online,
      onError: (error) => emit({ kind: "error", error: toPortError(error) }),
    });
    stopTelling = engine.subscribe((state) => emit({ kind: "state", state: toPortState(state) }));
    return engine;
  }

  async function call(client: string, request: SyncCall): Promise<unknown> {
    const running = open(request.wishes);
    switch (request.verb) {
      case "attach":
        emit({ kind: "state", state: toPortState(running.state) });
        break;
      case "start":
      case "pause":
      case "resume":
        running[request.verb]();
        break;
      case "sync":
        return running.sync();
      case "reset":
        return running.reset();
      case "pending":
        return (await running.pending()).map(toPortQueued);
      case "outcomes":
        return running.outcomes();
      case "listen-to-outcomes":
        // Only now: an outcome counts as told once somebody listens.
        if (!isListening) running.onOutcome((outcome) => emit({ kind: "outcome", outcome }));
        isListening = true;
        break;
      case "hold":
        if (!holds.has(request.hold))
          holds.set(request.hold, { client, hold: running.hold(request.scope, request.options) });
        early.get(request.hold)?.resolve();
        early.delete(request.hold);
        break;
      case "hold-ready":
        if (!holds.has(request.hold)) await untilTold(client, request.hold);
        return holds.get(request.hold)?.hold.ready;
      case "release":
        release(request.hold);
        break;
      case "reached":
        return running.reached(request.cursor);
      case "settled":
        return running.settled(request.id);
      case "resolve":
        return running.resolve(request.id, request.resolution);
      case "discard-pending":
        return running.discard(request.id);
      case "verify":
        return running.verify(request.scopes);
      case "sign-out":
        return running.signOut(request.options);
    }
    return undefined;
  }

  function release(name: string): void {
    holds.get(name)?.hold.release();
    holds.delete(name);
    refuseEarly(name, new SyncError({ code: "ABORTED", message: "The hold was released." }));
  }

  function untilTold(client: string, name: string): Promise<void> {
    const known = early.get(name);
    if (known) return known.told;
    let resolve = (): void => {};
    let reject: EarlyQuestion["reject"] = () => {};
    const told = new Promise<void>((onTold, onRefused) => {
      resolve = onTold;
      reject = onRefused;
    });
    early.set(name, { client, told, resolve, reject });
    return told;
  }

  function refuseEarly(name: string, error: SyncError): void {
    early.get(name)?.reject(error);
    early.delete(name);
  }

  return {
    closeTransaction: () => void stepSync(connection, closeDeviceTransaction(database)),
    committed: (names) => {
      const keys = new Set([...names].flatMap((name) => keyByName.get(name) ?? []));
      // An empty set would say that anything may have changed.
      if (keys.size > 0) database.committed(keys);
    },
    call,
    clientGone: (client) => {
      for (const [name, entry] of [...holds, ...early]) if (entry.client === client) release(name);
    },
    close: async () => {
      // Pages tell the next leader whether it was paused: that this one's engine ends must not look like a change of that.
      stopTelling();
      const closed = new SyncError({ code: "CLOSED", message: "This tab leads no more." });
      for (const name of [...early.keys()]) refuseEarly(name, closed);
      await engine?.close();
      engine = undefined;
    },
  };
}

interface EarlyQuestion {
  readonly client: string;
  readonly told: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: SyncError) => void;
}

/** The worker's transport outlives an engine: this worker may lead again. */
function lasting(transport: Transport): Transport {
  // By inheritance, since a transport may be an instance of a class.
  return Object.create(transport, { close: { value: () => {} } }) as Transport;
}

const OUTCOMES = `${PREFIX}outcomes`;
