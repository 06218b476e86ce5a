/**
 * What the leading worker holds: the file, capture and sync (`device-engine.ts`), and the leader that serves pages. The order
 * matters: migrations come before anything else, then capture is installed, then pages are served.
 *
 * @module
 */

import { createDeviceEngine } from "./device-engine.ts";
import type { DeviceEngineOptions } from "./device-engine.ts";
import { createGate } from "./gate.ts";
import type { LeadingDatabase } from "./host.ts";
import { createLeader, type Leader } from "./leader.ts";
import { loadSqlite } from "./sqlite/load-sqlite.ts";
import { openDatabaseFile } from "./sqlite/open-database.ts";

export interface OwnedDatabaseOptions extends Omit<DeviceEngineOptions, "connection" | "gate" | "onCommit"> {
  readonly name: string;
  readonly idleTransactionMs?: number;
  /** Which tabs are alive: answers kept for others are dropped. */
  readonly aliveClients: () => Promise<ReadonlySet<string>>;
}

/** Opens everything, or nothing. */
export async function openOwnedDatabase(options: OwnedDatabaseOptions): Promise<LeadingDatabase> {
  const file = await openDatabaseFile(await loadSqlite(), options.name);
  const { connection } = file;
  try {
    const gate = createGate();
    let leader: Leader | undefined;
    const engine = await createDeviceEngine({
      ...options,
      connection,
      gate,
      onCommit: (tables) => leader?.committed(tables),
    });
    connection.script("PRAGMA foreign_keys = ON");
    const serving = createLeader({
      connection,
      gate,
      closeTransaction: engine.closeTransaction,
      onCommit: engine.committed,
      callSync: engine.call,
      ...(options.idleTransactionMs === undefined ? {} : { idleTransactionMs: options.idleTransactionMs }),
    });
    leader = serving;
    const alive = await options.aliveClients();
    for (const [client] of connection.all("SELECT DISTINCT client FROM _sync_answers", [])) {
      if (!alive.has(String(client))) serving.clientGone(String(client));
    }
    connection.dropWritten();
    return {
      handle: serving.handle,
      clientGone: (client) => {
        serving.clientGone(client);
        engine.clientGone(client);
      },
      idle: gate.idle,
      close: async () => {
        // First, since the engine waits for its turn, and a frozen page never ends its transaction.
        serving.close();
        await engine.close();
        await gate.idle();
        file.close();
      },
    };
  } catch (error) {
    file.close();
    throw error;
  }
}
