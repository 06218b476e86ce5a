/**
 * The next page of each live stream, computed from one read snapshot for all of them (rules L1, L3, U3). Streams that have
 * the same scopes and schema and stand at the same place share the changes, and so their encoding; `lastTx` and outcomes
 * stand beside them.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import { readMeta } from "../plugin/meta.ts";
import { metaKeys } from "../plugin/names.ts";
import { readHead } from "../plugin/oplog.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { ChangeGroup } from "../protocol/change.ts";
import { type DeviceId, type Epoch, formatCursor, type Position, type TxRef } from "../protocol/ids.ts";
import type { Page } from "../protocol/pull.ts";
import { createChangeCollector } from "./change-groups.ts";
import { type DeviceRecord, readDevicesSince, readRecord, type SchemaCache } from "./devices.ts";
import type { KnownSchema } from "./known-schema.ts";
import { maxPageBytes } from "./limits.ts";
import { readOutcomes, type ToldOutcomes } from "./outcomes.ts";
import { findCursorFault } from "./pull.ts";
import { sameScopes } from "./scopes.ts";
import { readStretch } from "./stretch.ts";

/** Where a stream stands. */
export interface StreamPlace {
  readonly deviceId: DeviceId;
  /** What the device holds and may hold, sorted; and a hash of it. */
  readonly scopes: readonly string[];
  readonly scopesText: string;
  readonly schema: string;
  readonly limit: number;
  /** The last page's end: what the device stands at. */
  readonly cursor: Position;
  /** Up to here nothing concerns the device; at least the cursor. */
  readonly scanned: Position;
  /** What is known of the device's transactions. */
  readonly lastTx: TxRef;
  readonly ackedTx: number;
  /** Up to here the device knows what became of its transactions. */
  readonly told: number;
  /** Whether a page is wanted even if it is empty, and whether outcomes are, though nothing moved. */
  readonly wantsPage: boolean;
  readonly wantsOutcomes: boolean;
}

/** What a look at the database tells a stream. `gap`: it cannot go on, the device must pull. */
export type StreamNews =
  | { readonly kind: "gap"; readonly head: Position }
  | { readonly kind: "nothing"; readonly scanned: Position; readonly lastTx: TxRef; readonly ackedTx: number }
  | {
      readonly kind: "page";
      readonly page: Page;
      readonly to: Position;
      readonly lastTx: TxRef;
      readonly ackedTx: number;
      readonly told: number;
      /** Whether outcomes are left for the page after this one. */
      readonly hasMore: boolean;
    };

/** Devices whose stream stands further behind than so many entries are looked up one by one: since then all may have moved. */
const nearby = 1000;

interface Shared {
  readonly schema: KnownSchema;
  readonly changes: readonly ChangeGroup[];
  /** Pages by what differs between devices: those of one text are one object, encoded once. */
  readonly pages: Map<string, Page>;
}

/** Looks for news of all streams; the answers are in their order. */
export function* readNews(
  database: SyncDatabase,
  schemas: SchemaCache,
  places: readonly StreamPlace[],
): Core<readonly StreamNews[]> {
  const head = yield* readHead();
  // Written at the installation; its form is known.
  const epoch = (yield* readMeta(metaKeys.epoch)) as Epoch;
  const shared = new Map<string, { readonly scopes: readonly string[]; readonly found: Shared | undefined }>();
  const isFar = ({ scanned }: StreamPlace): boolean => head.seq - scanned.seq > nearby;
  const since = places.reduce((least, place) => (isFar(place) ? least : Math.min(least, place.scanned.seq)), head.seq);
  const moved = new Map(yield* readDevicesSince(since));
  for (const { deviceId } of places.filter(isFar)) {
    const record = yield* readRecord(deviceId);
    if (record !== undefined) moved.set(deviceId, record);
  }
  const news: StreamNews[] = [];
  for (const place of places) {
    const name = `${formatCursor(place.scanned)}|${place.schema}|${place.limit}|${place.scopesText}`;
    const known = shared.get(name);
    // The name holds a hash, which a subject who may name scopes can make meet that of others' scopes.
    const isSame = known !== undefined && sameScopes(known.scopes, place.scopes);
    const found: Shared | undefined = isSame ? known.found : yield* readShared(database, schemas, place, head);
    if (known === undefined) shared.set(name, { scopes: place.scopes, found });
    news.push(found === undefined ? { kind: "gap", head } : yield* tell(place, found, { head, epoch, moved }));
  }
  return news;
}

/** The changes between a place and the head; undefined where a stream cannot go on from there. */
function* readShared(
  database: SyncDatabase,
  schemas: SchemaCache,
  place: StreamPlace,
  head: Position,
): Core<Shared | undefined> {
  const schema: KnownSchema | undefined = yield* schemas.read(place.schema);
  if (schema === undefined || (yield* findCursorFault(place.scanned)) !== undefined) return undefined;
  const changes = createChangeCollector();
  if (place.scanned.seq < head.seq) {
    const target = new Set(place.scopes);
    const query = {
      target,
      held: target,
      schema,
      base: schema,
      after: place.scanned.seq,
      upTo: head.seq,
      limit: place.limit,
      bytes: maxPageBytes,
    };
    // Too much for one page: the device pulls it in a round.
    if ((yield* readStretch(database, query, changes)).reached < head.seq) return undefined;
  }
  return { schema, changes: changes.finish(), pages: new Map() };
}

function* tell(
  place: StreamPlace,
  shared: Shared,
  now: { readonly head: Position; readonly epoch: Epoch; readonly moved: ReadonlyMap<string, DeviceRecord> },
): Core<StreamNews> {
  const { head, epoch, moved } = now;
  // U3: as of this snapshot. A device that is not among those moved since is where it was.
  const { lastTx, ackedTx } = moved.get(place.deviceId) ?? place;
  const hasMoved = lastTx.number !== place.lastTx.number || lastTx.stamp !== place.lastTx.stamp;
  if (shared.changes.length === 0 && !hasMoved && !place.wantsPage)
    return { kind: "nothing", scanned: head, lastTx, ackedTx };
  const wantsOutcomes = hasMoved || place.wantsOutcomes;
  const { outcomes, upTo }: ToldOutcomes = wantsOutcomes
    ? yield* readOutcomes(place.deviceId, place.told)
    : { outcomes: [] };
  const from = formatCursor(place.cursor);
  const name = outcomes.length > 0 ? undefined : `${from}|${lastTx.number}.${lastTx.stamp}|${ackedTx}`;
  let page = name === undefined ? undefined : shared.pages.get(name);
  if (page === undefined) {
    page = {
      kind: "page",
      epoch,
      from,
      to: formatCursor(head),
      scopes: place.scopes,
      schema: place.schema,
      ...(shared.schema.sharedHash === place.schema ? {} : { shared: shared.schema.sharedHash }),
      changes: shared.changes,
      lastTx: upTo ?? lastTx,
      ackedTx,
      outcomes,
    };
    if (name !== undefined) shared.pages.set(name, page);
  }
  const told = (upTo ?? lastTx).number;
  return { kind: "page", page, to: head, lastTx, ackedTx, told, hasMore: upTo !== undefined };
}
