/**
 * A folder of database files, and turns with a fresh server and device on copies of them.
 */
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startRemote, type Remote } from "./remote.ts";
import type { Variant } from "./sides/database.ts";
import type { DeviceCommands, DeviceOptions } from "./sides/device.ts";
import type { ServerCommands } from "./sides/server.ts";

export type Server = Remote<ServerCommands>;
export type Device = Remote<DeviceCommands>;

/** A server and a device, ready and idle. */
export interface Pair {
  readonly server: Server;
  readonly device: Device;
  readonly url: string;
}

/** Files and processes of one benchmark. */
export interface Scene {
  /** The path of a file. */
  file(name: string): string;
  /** Copies a file, so that a turn may change it; answers the copy's name. */
  copy(name: string, to: string): string;
  server(variant: Variant, name: string): Promise<{ readonly server: Server; readonly url: string }>;
  device(variant: Variant, name: string, url: string, options?: DeviceOptions): Promise<Device>;
  /** Runs work with a server and a device on copies of files; a device without one is empty. The copies stay if `keep` says how to call them. */
  turn<T>(options: TurnOptions, work: (pair: Pair) => Promise<T>): Promise<T>;
}

export interface TurnOptions {
  readonly variant: Variant;
  readonly server: string;
  readonly device?: string;
  readonly deviceOptions?: DeviceOptions;
  readonly keep?: { readonly server?: string; readonly device?: string };
}

/** Gives work a scene, and clears it away. */
export async function inScene<T>(work: (scene: Scene) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "drizzle-sync-bench-"));
  const file = (name: string): string => join(folder, `${name}.db`);
  let turns = 0;
  const scene: Scene = {
    file,
    copy(name, to) {
      cpSync(file(name), file(to));
      return to;
    },
    async server(variant, name) {
      const server = startRemote<ServerCommands>("sides/server.ts");
      return { server, url: await server.call("listen", variant, file(name)) };
    },
    async device(variant, name, url, options) {
      const device = startRemote<DeviceCommands>("sides/device.ts");
      await device.call("open", variant, file(name), url, options ?? {});
      return device;
    },
    async turn({ variant, server: serverFile, device: deviceFile, deviceOptions, keep = {} }, act) {
      const turn = turns++;
      const names = { server: keep.server ?? `server-${turn}`, device: keep.device ?? `device-${turn}` };
      cpSync(file(serverFile), file(names.server));
      if (deviceFile !== undefined) cpSync(file(deviceFile), file(names.device));
      const { server, url } = await scene.server(variant, names.server);
      const device = await scene.device(variant, names.device, url, deviceOptions);
      try {
        const result = await act({ server, device, url });
        await device.call("close");
        await server.call("close");
        return result;
      } finally {
        await Promise.all([device.stop(), server.stop()]);
        if (keep.server === undefined) rmSync(file(names.server), { force: true });
        if (keep.device === undefined) rmSync(file(names.device), { force: true });
      }
    },
  };
  try {
    return await work(scene);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Fails unless all digests are the same. */
export function requireSame(digests: readonly { readonly digest: string }[]): void {
  if (new Set(digests.map(({ digest }) => digest)).size !== 1)
    throw new Error("The devices do not hold the same rows.");
}
