/**
 * Runs a plan: one server, a few devices, a network that fails, processes that die. After every step everything is looked
 * at; at the end the faults stop, and everybody must come to agree.
 *
 * @module
 */

import { checkpointOf } from "./check-device.ts";
import { finish } from "./ending.ts";
import { settle, takePlatform } from "./platform.ts";
import type { Plan } from "./plan.ts";
import { createScene, type Scene } from "./scene.ts";
import { perform } from "./steps.ts";
import type { Totals } from "./totals.ts";

/** Runs a plan. Throws what went wrong: a {@link Violation}, or whatever the library threw. */
export async function runPlan(plan: Plan, trace: (line: string) => void = () => undefined): Promise<Totals> {
  const stray: unknown[] = [];
  const release = takePlatform((error) => void stray.push(error));
  let scene: Scene | undefined;
  try {
    scene = await createScene(plan);
    for (const [index, step] of plan.steps.entries()) {
      scene.now = index + 1;
      scene.count(`step ${step.kind}`);
      const line = await perform(step, scene);
      trace(`${scene.now} ${step.kind}: ${line}`);
      await look(scene);
      if (stray.length > 0) throw stray[0];
    }
    scene.now++;
    await finish(scene, look);
    if (stray.length > 0) throw stray[0];
    return scene.totals;
  } finally {
    await scene?.close();
    release();
  }
}

/** After a step: what died is started again, and everything is looked at. */
async function look(scene: Scene): Promise<void> {
  const { server, devices, count, totals } = scene;
  await settle();
  if (server.database.hasCrashed) {
    count("server crashes");
    await server.restart();
    for (const device of devices) device.network.cutStream();
    await settle();
  }
  for (const device of devices) {
    // Opening may be what it dies of.
    while (device.database.hasCrashed) {
      count("device crashes");
      await device.restart();
      await settle();
    }
  }
  for (const error of [...server.unexpected, ...devices.flatMap((device) => device.unexpected)]) throw error;
  for (const device of devices) {
    device.check(scene.now);
    totals["withheld"] = (totals["withheld"] ?? 0) + (checkpointOf(device.database)?.withheld.length ?? 0);
  }
}
