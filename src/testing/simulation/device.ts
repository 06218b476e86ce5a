/**
 * What the simulation knows of a device, and what it is made from.
 *
 * @module
 */

import type { Hold, SyncClient } from "../../client/client.ts";
import type { Clock } from "../../client/clock.ts";
import type { Transport } from "../../client/transport.ts";
import type { SyncDatabase } from "../../plugin/sync-database.ts";
import type { CrashDatabase } from "../crash-database.ts";
import type { FaultNetwork } from "../fault-network.ts";
import type { Mishaps } from "./check-device.ts";
import type { Contents } from "./contents.ts";
import type { Library, Memory, MemoryImage } from "./memory.ts";
import type { Circumstances } from "./plan.ts";
import type { Names } from "./pushes.ts";
import type { Version } from "./schema.ts";
import type { Db } from "./server-node.ts";
import type { Witness } from "./witness.ts";

export interface DeviceNode {
  readonly name: string;
  readonly subject: string;
  readonly options: DeviceOptions;
  /** The version of the app. */
  readonly version: Version;
  readonly database: CrashDatabase;
  readonly db: Db;
  readonly sync: SyncDatabase;
  readonly client: SyncClient;
  readonly network: FaultNetwork;
  readonly onDemand: boolean;
  readonly holds: Map<string, Hold>;
  /** What was written, shown and told here. */
  readonly memory: Memory;
  readonly unexpected: unknown[];
  /** Notes an error that nothing explains. A dead or a closed client explains everything. */
  noteError(error: unknown): void;
  /** Runs statements as the app does, and remembers what they changed. */
  write(step: number, work: (observed: (statement: () => void) => void) => void): "written" | "refused" | "crashed";
  /** Runs a statement as another process does: nobody is told, and no transaction is closed. */
  writeAsStranger(work: () => void): void;
  /**
   * Runs something of the client's that may write one local transaction, and remembers what that changed.
   * `writtenAfterDeletes`: rows that it writes only after it has deleted others.
   */
  writeThrough(work: () => Promise<void>, writtenAfterDeletes: ReadonlySet<string>): Promise<void>;
  /** Takes note of what strangers wrote, if it has been closed as a transaction meanwhile. */
  noteClosed(): void;
  /** A second client over the same file syncs, as in another tab: its answers come beside the first one's. */
  syncBeside(): void;
  /** Lets what the network holds go, of every client. */
  release(): void;
  /** What the process does from time to time: looks for others' commits. */
  upkeep(): void;
  /** Looks at the device as it is committed now. */
  check(step: number): void;
  /** From now on the network is good, and the process lives. */
  endFaults(): Promise<void>;
  /** Moves the device's clock. */
  setClock(skewMs: number): void;
  /** Starts a new process on what the old one had committed. */
  restart(): Promise<void>;
  /** Closes the client, and makes another one over the same database. */
  reopenClient(): Promise<void>;
  /** Installs the app's next version, which migrates the database as it starts. */
  upgrade(): Promise<void>;
  /** The device's file as it is now; undefined while others' entries are open in it. */
  image(): DeviceImage | undefined;
  /** Puts the file back to what it was. */
  restore(image: DeviceImage): Promise<void>;
  /** Signs the client out; after a wipe, what was written before is nobody's any more. */
  signOut(choice: { readonly pending: "flush" | "keep" | "discard"; readonly wipe: boolean }): Promise<void>;
  close(): Promise<void>;
}

/** A device's file, and what the app on it knows. */
export interface DeviceImage {
  readonly contents: Contents;
  readonly memory: MemoryImage;
  readonly lastNumber: number;
  readonly version: Version;
}

export interface DeviceOptions {
  readonly name?: string;
  readonly index: number;
  readonly subject: string;
  readonly seed: number;
  readonly circumstances: Circumstances;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly witness: Witness;
  readonly mishaps: Mishaps;
  readonly library: Library;
  readonly names: Names;
  /** The step that is running. */
  readonly step: () => number;
  /** A copied file to begin with. */
  readonly image?: DeviceImage;
}
