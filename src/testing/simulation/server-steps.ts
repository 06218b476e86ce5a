/**
 * Steps of those who run the server: they change rights, trim the log, and restore backups.
 *
 * @module
 */

import type { Random } from "../random.ts";
import type { StepAction } from "./steps.ts";
import { allScopes, grants } from "./schema.ts";
import type { Scene } from "./scene.ts";
import { Violation } from "./violation.ts";
import { writeOnServer } from "./write-steps.ts";

export const changeRights: StepAction = (random, { subject }, { server, count }) => {
  const scope = random.pick(allScopes);
  const column = random.chance(0.7) ? "read" : "write";
  const value = server.rights(subject)[column].has(scope) ? 0 : 1;
  count("rights changed");
  try {
    server.db
      .insert(grants)
      .values({ subject, scope, read: 0, write: 0, [column]: value })
      .onConflictDoUpdate({ target: [grants.subject, grants.scope], set: { [column]: value } })
      .run();
  } catch (error) {
    if (error instanceof Violation) throw error;
    return String(error);
  }
  return `${subject} may ${value === 0 ? "no longer" : "now"} ${column} ${scope}`;
};

export function trim(random: Random, { server, count }: Scene): string {
  const { seq } = server.witness.head;
  // Often nearly everything: the horizon is where the mistakes are.
  const upTo = random.chance(0.7) ? seq - random.int(random.pick([2, 10])) : random.int(seq + 1);
  const rows = random.pick([5, 1000]);
  server.trim(upTo, rows);
  count("trims");
  return `up to ${upTo} of ${seq}, ${rows} rows at most`;
}

export async function restoreServer(random: Random, scene: Scene): Promise<string> {
  const { backups, server, devices, mishaps, count } = scene;
  if (backups.length === 0) return "nothing";
  const forgets = random.chance(0.2);
  mishaps.restores++;
  if (forgets) mishaps.forgotten++;
  count(forgets ? "restores without device records" : "restores");
  await server.restore(random.pick(backups), { forgets });
  for (const device of devices) device.network.cutStream();
  const lines = [forgets ? "without device records" : "whole"];
  // Somebody writes before any device comes back: the log is as long again, but another one.
  for (let writes = random.int(3); writes > 0; writes--) lines.push(writeOnServer(random, scene));
  return lines.join("; ");
}
