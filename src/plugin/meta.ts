/**
 * The library's state by key, in one small table: role, epoch, horizon, cursor. Each part owns its keys.
 *
 * @module
 */

import { first, run, type Core } from "./core.ts";
import { META } from "./names.ts";
import type { Value } from "../protocol/ids.ts";

/** Reads a value; undefined when there is none. */
export function* readMeta(key: string): Core<Value | undefined> {
  return (yield* first(`SELECT v FROM ${META} WHERE k = ?`, [key]))?.[0];
}

/** Writes a value. */
export function* writeMeta(key: string, value: Value): Core<void> {
  yield* run(`INSERT INTO ${META}(k, v) VALUES (?, ?) ON CONFLICT(k) DO UPDATE SET v = excluded.v`, [key, value]);
}

/** Removes a value. */
export function* removeMeta(key: string): Core<void> {
  yield* run(`DELETE FROM ${META} WHERE k = ?`, [key]);
}
