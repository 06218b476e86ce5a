/**
 * One answer to a pull, computed from one read snapshot of log, rows and device records (rules U1–U4, I2, I5).
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import { readMeta } from "../plugin/meta.ts";
import { metaKeys } from "../plugin/names.ts";
import { readHead, readHorizon, vouches } from "../plugin/oplog.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import { hashScopes } from "../protocol/hash.ts";
import { type Epoch, formatCursor, parseCursor, type Position } from "../protocol/ids.ts";
import type { Page, PullAnswer, PullRequest, ResetReason } from "../protocol/pull.ts";
import { createChangeCollector } from "./change-groups.ts";
import { readChecksums } from "./checksums.ts";
import { type DeviceRecord, readDevice, type SchemaCache } from "./devices.ts";
import { forgottenSchema, type KnownSchema } from "./known-schema.ts";
import { acknowledge, readOutcomes } from "./outcomes.ts";
import { beginRound, type PageLimits, resumeRound, roundState, type Walk, walkRound } from "./round.ts";
import { type Rights, targetScopes } from "./scopes.ts";

/** What a pull is computed for. */
export interface PullQuery {
  readonly request: PullRequest;
  readonly subject: string;
  readonly rights: Rights;
  readonly epoch: Epoch;
  readonly limits: PageLimits;
}

/** An answer, or that the device's acknowledgement must be written before one can be given. */
export type PullResult = { readonly kind: "answer"; readonly answer: PullAnswer } | { readonly kind: "acknowledge" };

/** Computes an answer; reads only. */
export function* pull(database: SyncDatabase, schemas: SchemaCache, query: PullQuery): Core<PullResult> {
  const { request, subject, epoch } = query;
  const answer = (answered: PullAnswer): PullResult => ({ kind: "answer", answer: answered });
  const device = yield* readDevice(request.deviceId, subject);
  const schema = yield* schemas.read(request.schema);
  if (schema === undefined) return answer({ kind: "need-schema", epoch });

  const head = yield* readHead();
  let cursor: Position | undefined;
  if (request.cursor !== undefined) {
    const reason = yield* findResetReason(request, epoch);
    if (reason !== undefined) return answer({ kind: "reset", epoch, reason });
    cursor = parseCursor(request.cursor);
    if (request.round === undefined && isNewAcknowledgement(request, device)) return { kind: "acknowledge" };
  }

  const walk =
    request.round === undefined
      ? yield* begin(schemas, query, { schema, head, cursor })
      : yield* resume(schemas, query, { schema, head });
  if (walk === "need-held") return answer({ kind: "need-held", epoch });
  if (walk === "restart") return answer({ kind: "restart", epoch });
  return answer(yield* readPage(database, query, { walk, schema, head, device }));
}

/** Writes a device's acknowledgement, if it is one still (rule I5). */
export function* writeAcknowledgement(request: PullRequest, subject: string): Core<void> {
  const device = yield* readDevice(request.deviceId, subject);
  if (request.cursor === undefined || !isNewAcknowledgement(request, device)) return;
  if (!(yield* vouches(parseCursor(request.cursor)))) return;
  yield* acknowledge(request.deviceId, device.ackedTx, request.ackedTx);
}

/** Why a cursor cannot be gone on from; undefined when it can. Also asked of live streams. */
export function* findCursorFault(cursor: Position): Core<ResetReason | undefined> {
  const horizon = yield* readHorizon();
  if (cursor.seq < horizon.seq) return "CURSOR_EXPIRED";
  if (!(yield* vouches(cursor, horizon))) return "CURSOR_UNKNOWN";
  // Entries from before a change of the declaration tell scopes by the old one, and some changes while triggers were
  // missing have none.
  const declaredSince = yield* readMeta(metaKeys.declaredSince);
  return declaredSince !== undefined && cursor.seq < Number(declaredSince) ? "DECLARATION_CHANGED" : undefined;
}

function* findResetReason(request: PullRequest, epoch: Epoch): Core<ResetReason | undefined> {
  if (request.epoch !== undefined && request.epoch !== epoch) return "EPOCH_CHANGED";
  return request.cursor === undefined ? undefined : yield* findCursorFault(parseCursor(request.cursor));
}

/** An acknowledgement beyond what was handled is somebody else's (rule I4): it drops nothing. */
function isNewAcknowledgement(request: PullRequest, device: DeviceRecord): boolean {
  return request.ackedTx > device.ackedTx && request.ackedTx <= device.lastTx.number;
}

function* begin(
  schemas: SchemaCache,
  query: PullQuery,
  at: { readonly schema: KnownSchema; readonly head: Position; readonly cursor: Position | undefined },
): Core<Walk | "need-held"> {
  const { request, rights } = query;
  const { schema, head, cursor } = at;
  const target = targetScopes(rights, request.wanted);
  if (cursor === undefined) return beginRound(target, [], { cursor, head, schema, base: schema });
  const held = heldScopes(request.held, target);
  if (held === undefined) return "need-held";
  return beginRound(target, held, { cursor, head, schema, base: yield* readBase(schemas, schema, request.baseSchema) });
}

function* resume(
  schemas: SchemaCache,
  query: PullQuery,
  at: { readonly schema: KnownSchema; readonly head: Position },
): Core<Walk | "restart"> {
  const { request, rights } = query;
  const { schema, head } = at;
  if (request.round === undefined) return "restart";
  const base = yield* readBase(schemas, schema, request.round.baseSchema);
  return (
    (yield* resumeRound(request.round, { rights, head, schema, base, hasCursor: request.cursor !== undefined })) ??
    "restart"
  );
}

function* readBase(schemas: SchemaCache, schema: KnownSchema, hash: string): Core<KnownSchema> {
  return hash === schema.hash || hash === schema.sharedHash ? schema : ((yield* schemas.read(hash)) ?? forgottenSchema);
}

/**
 * Rule U4: the held scopes as far as they are in the target; undefined when the hash is of another list, which must then
 * be sent. What is held and not in the target the device drops by itself.
 */
function heldScopes(held: PullRequest["held"], target: readonly string[]): readonly string[] | undefined {
  if (typeof held === "string") return held === hashScopes(target) ? target : undefined;
  const has = new Set(held);
  return target.filter((scope) => has.has(scope));
}

function* readPage(
  database: SyncDatabase,
  query: PullQuery,
  at: { readonly walk: Walk; readonly schema: KnownSchema; readonly head: Position; readonly device: DeviceRecord },
): Core<Page> {
  const { request, epoch, limits } = query;
  const { walk, schema, head, device } = at;
  const changes = createChangeCollector();
  const next = yield* walkRound(database, walk, { schema, head, limits, changes });
  const page = {
    kind: "page" as const,
    epoch,
    ...(walk.isFresh || request.cursor === undefined
      ? { scopes: walk.scopes }
      : { from: request.cursor, ...(request.held === hashScopes(walk.scopes) ? {} : { scopes: walk.scopes }) }),
    schema: schema.hash,
    ...(schema.sharedHash === schema.hash ? {} : { shared: schema.sharedHash }),
    changes: changes.finish(),
  };
  if (next !== undefined) {
    const remaining = next.phase === "log" ? { remaining: head.seq - next.next } : {};
    return { ...page, round: roundState(next, schema, head), ...remaining };
  }
  // U3: as of this snapshot, which is the page's end; or earlier, where not all outcomes fit.
  const told = device.isKnown ? yield* readOutcomes(request.deviceId, request.ackedTx) : { outcomes: [] };
  return {
    ...page,
    to: formatCursor(head),
    lastTx: told.upTo ?? device.lastTx,
    ackedTx: device.ackedTx,
    outcomes: told.outcomes,
    ...(request.check === undefined
      ? {}
      : { checksums: yield* readChecksums(database, schema, request.check, new Set(walk.scopes)) }),
  };
}
