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
import { type Cursor, type DeviceId, type Epoch, formatCursor, type Position, type TxRef } from "../protocol/ids.ts";
import type { Page } from "../protocol/pull.ts";
import { createChangeCollector } from "./change-groups.ts";
import { type DeviceRecord, readDevicesSince, readRecord, type SchemaCache } from "./devices.ts";
import type { KnownSchema } from "./known-schema.ts";
import { maxPageBytes } from "./limits.ts";
import type { StreamedFrame } from "./live-stream.ts";
import { readOutcomes, type ToldOutcomes } from "./outcomes.ts";
import { findCursorFault } from "./pull.ts";
import { sameScopes } from "./scopes.ts";
import { readStretch } from "./stretch.ts";

/** Where a stream stands. What is not read-only moves with it: a place of its own for each frame would cost more than the frame. */
export interface StreamPlace {
  readonly deviceId: DeviceId;
  /** What the device holds and may hold, sorted; and a hash of it. Streams with the same scopes come to share one list. */
  scopes: readonly string[];
  scopesText: string;
  readonly schema: string;
  readonly limit: number;
  /** The last page's end: what the device stands at. */
  cursor: Position;
  /** Up to here nothing concerns the device; at least the cursor. */
  scanned: Position;
  /** What is known of the device's transactions. */
  lastTx: TxRef;
  ackedTx: number;
  /** Up to here the device knows what became of its transactions. */
  told: number;
  /** Whether a page is wanted even if it is empty, and whether outcomes are, though nothing moved. */
  wantsPage: boolean;
  wantsOutcomes: boolean;
}

/** What a look at the database tells a stream. `gap`: it cannot go on, the device must pull. */
export type StreamNews =
  | { readonly kind: "gap"; readonly head: Position }
  | { readonly kind: "nothing"; readonly scanned: Position; readonly lastTx: TxRef; readonly ackedTx: number }
  | PageNews;

interface PageNews {
  readonly kind: "page";
  readonly streamed: StreamedFrame;
  readonly to: Position;
  readonly lastTx: TxRef;
  readonly ackedTx: number;
  readonly told: number;
  /** Whether outcomes are left for the page after this one. */
  readonly hasMore: boolean;
  /** Whether it tells the device of what it pushed itself. */
  readonly isEcho: boolean;
}

/** Devices whose stream stands further behind than so many entries are looked up one by one: since then all may have moved. */
const nearby = 1000;

interface Shared {
  readonly schema: KnownSchema;
  readonly changes: readonly ChangeGroup[];
  /** Pages by what differs between devices: those of one text are one object, encoded once. */
  readonly pages: Map<string, PageNews>;
  /** The one told last, and the place it begins at: most often the next one to be told. */
  latest: { readonly cursor: Position; readonly news: PageNews } | undefined;
}

/** What holds for all streams in one look. `found` is undefined where a stream cannot go on from there. */
interface Group {
  readonly place: StreamPlace;
  readonly scopes: readonly string[];
  readonly found: Shared | undefined;
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
  const groups = new Map<string, Group>();
  const isFar = ({ scanned }: StreamPlace): boolean => head.seq - scanned.seq > nearby;
  const since = places.reduce((least, place) => (isFar(place) ? least : Math.min(least, place.scanned.seq)), head.seq);
  const moved = new Map(yield* readDevicesSince(since));
  for (const { deviceId } of places.filter(isFar)) {
    const record = yield* readRecord(deviceId);
    if (record !== undefined) moved.set(deviceId, record);
  }
  const now: Now = { head, to: formatCursor(head), epoch, moved };
  const news: StreamNews[] = [];
  let group: Group | undefined;
  for (const place of places) {
    // Streams that were served together stand together: most often it is the same group again.
    if (group === undefined || !standsWith(place, group)) group = yield* groupOf(place);
    const { found } = group;
    if (found === undefined) news.push({ kind: "gap", head });
    else news.push(tell(place, found, now) ?? (yield* tellOutcomes(place, found, now)));
  }
  return news;

  function* groupOf(place: StreamPlace): Core<Group> {
    const name = `${formatCursor(place.scanned)}|${place.schema}|${place.limit}|${place.scopesText}`;
    const known = groups.get(name);
    // The name holds a hash, which a subject who may name scopes can make meet that of others' scopes.
    if (known !== undefined && sameScopes(known.scopes, place.scopes)) {
      place.scopes = known.scopes;
      return known;
    }
    const own: Group = { place, scopes: place.scopes, found: yield* readShared(database, schemas, place, head) };
    if (known === undefined) groups.set(name, own);
    return own;
  }
}

function standsWith(place: StreamPlace, group: Group): boolean {
  return (
    place.scopes === group.scopes &&
    place.scanned === group.place.scanned &&
    place.schema === group.place.schema &&
    place.limit === group.place.limit
  );
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
  return { schema, changes: changes.finish(), pages: new Map(), latest: undefined };
}

/** What all streams are told as of. */
interface Now {
  readonly head: Position;
  readonly to: Cursor;
  readonly epoch: Epoch;
  readonly moved: ReadonlyMap<string, DeviceRecord>;
}

/** What is told to a stream to which no outcomes are told; undefined for another. */
function tell(place: StreamPlace, shared: Shared, now: Now): StreamNews | undefined {
  // U3: as of this snapshot. A device that is not among those moved since is where it was.
  const { lastTx, ackedTx } = now.moved.get(place.deviceId) ?? place;
  const hasMoved = lastTx.number !== place.lastTx.number || lastTx.stamp !== place.lastTx.stamp;
  if (shared.changes.length === 0 && !hasMoved && !place.wantsPage)
    return { kind: "nothing", scanned: now.head, lastTx, ackedTx };
  if (hasMoved || place.wantsOutcomes) return undefined;
  return pageNews(place, shared, now, { outcomes: [] }, false);
}

function* tellOutcomes(place: StreamPlace, shared: Shared, now: Now): Core<StreamNews> {
  return pageNews(place, shared, now, yield* readOutcomes(place.deviceId, place.told), true);
}

function pageNews(
  place: StreamPlace,
  shared: Shared,
  { head, to, epoch, moved }: Now,
  { outcomes, upTo }: ToldOutcomes,
  isEcho: boolean,
): PageNews {
  const { lastTx, ackedTx } = moved.get(place.deviceId) ?? place;
  const isShared = outcomes.length === 0 && upTo === undefined;
  const known = isShared ? sharedNews(place, shared, lastTx, ackedTx) : undefined;
  if (known !== undefined) return known;
  const told = upTo ?? lastTx;
  const frame: Page = {
    kind: "page",
    epoch,
    from: formatCursor(place.cursor),
    to,
    // Its device holds the scopes, or it could not be streamed to.
    schema: place.schema,
    ...(shared.schema.sharedHash === place.schema ? {} : { shared: shared.schema.sharedHash }),
    changes: shared.changes,
    lastTx: told,
    ackedTx,
    outcomes,
  };
  const news: PageNews = {
    kind: "page",
    streamed: { frame, cursor: to },
    to: head,
    lastTx,
    ackedTx,
    told: told.number,
    hasMore: upTo !== undefined,
    isEcho,
  };
  if (isShared) {
    shared.latest = { cursor: place.cursor, news };
    shared.pages.set(pageName(place, lastTx, ackedTx), news);
  }
  return news;
}

/** What a device in the same place was told. */
function sharedNews(place: StreamPlace, shared: Shared, lastTx: TxRef, ackedTx: number): PageNews | undefined {
  const { latest } = shared;
  const isSame =
    latest !== undefined &&
    latest.cursor === place.cursor &&
    latest.news.ackedTx === ackedTx &&
    latest.news.lastTx.number === lastTx.number &&
    latest.news.lastTx.stamp === lastTx.stamp;
  return isSame ? latest.news : shared.pages.get(pageName(place, lastTx, ackedTx));
}

function pageName({ cursor }: StreamPlace, lastTx: TxRef, ackedTx: number): string {
  return `${formatCursor(cursor)}|${lastTx.number}.${lastTx.stamp}|${ackedTx}`;
}
