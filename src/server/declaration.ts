/**
 * The scope declaration that the log's entries were written under. When it changes, positions from before are good for
 * nothing: entries and held scopes would be told by two measures. A marker is appended, and every cursor below it is
 * answered with a reset.
 *
 * @module
 */

import { type Core, run } from "../plugin/core.ts";
import { readMeta, writeMeta } from "../plugin/meta.ts";
import { LOG, MARKER, STAMP_SQL, metaKeys } from "../plugin/names.ts";
import { readHead } from "../plugin/oplog.ts";

const declarationKey = "declaration";

/** Whether the database was last served under another declaration, or under none. */
export function* isRedeclared(declaration: string): Core<boolean> {
  return (yield* readMeta(declarationKey)) !== declaration;
}

/** Takes note of the declaration, in a write transaction. */
export function* writeDeclaration(declaration: string, hlc: number): Core<void> {
  const before = yield* readMeta(declarationKey);
  if (before === declaration) return;
  yield* writeMeta(declarationKey, declaration);
  if (before === undefined) return;
  yield* appendMarker(hlc);
  yield* writeMeta(metaKeys.declaredSince, (yield* readHead()).seq);
}

/** Appends a marker, so that the head moves although no row did. */
export function* appendMarker(hlc: number): Core<void> {
  yield* run(`INSERT INTO ${LOG}(stamp, t, kind, mask) VALUES (${STAMP_SQL}, ${MARKER}, 0, ?)`, [hlc]);
}
