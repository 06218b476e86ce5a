/**
 * Everything that takes part in a run: the server, the devices, the clock, and what the oracles know of all of them.
 *
 * @module
 */

import { createRandom } from "../random.ts";
import { createVirtualClock, type VirtualClock } from "../virtual-clock.ts";
import type { Mishaps } from "./check-device.ts";
import { checkPush } from "./check-push.ts";
import type { DeviceImage, DeviceNode } from "./device.ts";
import { startDevice } from "./device-node.ts";
import type { Library } from "./memory.ts";
import type { Plan } from "./plan.ts";
import type { Names } from "./pushes.ts";
import { allScopes, people } from "./schema.ts";
import { startServer, type ServerBackup, type ServerNode } from "./server-node.ts";

export interface Scene {
  readonly plan: Plan;
  readonly clock: VirtualClock;
  readonly server: ServerNode;
  readonly devices: DeviceNode[];
  readonly library: Library;
  readonly mishaps: { -readonly [K in keyof Mishaps]: Mishaps[K] };
  /** Backups of the server, oldest first. */
  readonly backups: ServerBackup[];
  /** Backups of devices' files. */
  readonly deviceImages: { readonly device: DeviceNode; readonly image: DeviceImage }[];
  /** A value that was never used before. */
  readonly fresh: () => string;
  /** The step that is running. */
  now: number;
  readonly totals: Record<string, number>;
  readonly count: (what: string) => void;
  /** Adds a device that begins with a copy of another one's file. */
  addCopy(device: DeviceNode, image: DeviceImage): Promise<void>;
  close(): Promise<void>;
}

export async function createScene(plan: Plan): Promise<Scene> {
  const { seed, circumstances } = plan;
  const clock = createVirtualClock();
  const totals: Record<string, number> = {};
  const count = (what: string): void => void (totals[what] = (totals[what] ?? 0) + 1);
  const names: Names = new Map();
  const server = await startServer(circumstances, clock, names, count);
  const devices: DeviceNode[] = [];
  const library: Library = new Map();
  let values = 0;
  seedRights(server, seed);

  const add = async (index: number, more: { readonly name?: string; readonly image?: DeviceImage }): Promise<void> => {
    const subject = people[index] as string;
    devices.push(
      await startDevice({
        index,
        subject,
        seed: seed + index + 100 * devices.length,
        circumstances,
        transport: server.transport(subject),
        clock,
        witness: server.witness,
        mishaps: scene.mishaps,
        library,
        names,
        step: () => scene.now,
        ...more,
      }),
    );
  };
  const scene: Scene = {
    plan,
    clock,
    server,
    devices,
    library,
    mishaps: { restores: 0, forgotten: 0, copies: 0 },
    backups: [],
    deviceImages: [],
    fresh: () => `v${values++}`,
    now: 0,
    totals,
    count,
    async addCopy({ options: { index }, subject }, image) {
      scene.mishaps.copies++;
      await add(index, { name: `${subject}'s copy ${devices.length}`, image });
    },
    async close() {
      for (const device of devices) await device.close();
      server.close();
    },
  };
  server.witness.onCommit = (commit) => {
    count("commits");
    const { handled } = commit;
    if (!handled) return;
    for (const { number, isEmpty } of handled.sent) {
      const outcome = handled.outcomes.get(number);
      const fate = outcome?.status ?? (isEmpty ? "empty" : "applied");
      count(outcome?.status === "rejected" ? `rejected ${outcome.code}` : fate);
    }
    checkPush(commit, {
      transaction: (stamp) => {
        // What strangers wrote may just have been closed and pushed.
        if (!library.has(stamp)) for (const device of devices) device.noteClosed();
        return library.get(stamp);
      },
      writable: (subject) => server.rights(subject).write,
    });
  };
  for (let index = 0; index < circumstances.devices; index++) await add(index, {});
  return scene;
}

/** What subjects may do at first. */
function seedRights({ database, witness }: ServerNode, seed: number): void {
  const random = createRandom(seed ^ 0x5eed);
  const insert = database.raw.prepare("INSERT INTO grants (subject, scope, read, write) VALUES (?, ?, ?, ?)");
  database.raw.transaction(() => {
    for (const subject of people)
      for (const scope of allScopes)
        insert.run(subject, scope, random.chance(0.75) ? 1 : 0, random.chance(0.85) ? 1 : 0);
  })();
  database.touch();
  witness.look();
}
