/**
 * Live streams (rules L1–L3). All streams of a database are looked after together: after a commit, one look at the
 * database serves those whose readers wait. A reader that is slow is given nothing meanwhile, and then everything at once:
 * a stream holds no more than the one frame that its reader has not taken.
 *
 * Two kinds: one carries pages and ends with a code when the device must pull; the other only says that there is more
 * (tRPC), and goes on.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import { readMeta } from "../plugin/meta.ts";
import { metaKeys } from "../plugin/names.ts";
import { readHead, readHeadSeq } from "../plugin/oplog.ts";
import { readAtHead } from "../plugin/read-at-head.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import { hashScopes } from "../protocol/hash.ts";
import { formatCursor, parseCursor, type Position } from "../protocol/ids.ts";
import type { LiveEnd } from "../protocol/live.ts";
import { readDevice, type SchemaCache } from "./devices.ts";
import type { FrameStream } from "./frame-stream.ts";
import { readNews, type StreamNews, type StreamPlace } from "./live-pages.ts";
import { createStream, readStream, type Stream, type StreamedFrame, type StreamOptions } from "./live-stream.ts";
import { areStale, sameScopes, targetScopes } from "./scopes.ts";

/** The streams of one database. */
export interface LiveStreams {
  /** Opens a stream; it begins when it is first read. */
  open(options: StreamOptions): FrameStream<StreamedFrame>;
  /** Looks for news: something was handled here that no commit tells of. */
  wake(): void;
  /** Ends all streams, and those opened later. */
  close(): void;
  readonly count: number;
}

/** What the streams of a database share. */
export interface LiveOptions {
  readonly database: SyncDatabase;
  readonly schemas: SchemaCache;
  /** Keys of the tables whose commits change what `scopes` answers. */
  readonly scopesDependOn: ReadonlySet<string>;
  /** How long a stream is silent, and how old rights may be. */
  readonly intervalMs: number;
  readonly now: () => number;
  /** Told of each look at the database. */
  readonly onLook?: () => void;
  readonly onError: (error: unknown) => void;
}

/**
 * A device that hears nothing is taken along when its cursor lies so many entries, or hours, behind: its cursor must not fall
 * below the horizon.
 */
const maxLag = 1000;
const maxLagMs = 3_600_000;
/** Streams whose rights are asked for at the same time. */
const askedAtOnce = 16;

/** Creates the streams of a database. Nothing is watched before one is open. */
export function createLiveStreams(options: LiveOptions): LiveStreams {
  const { database, schemas, scopesDependOn, intervalMs, now, onLook, onError } = options;
  const streams = new Set<Stream>();
  let stopWatching: (() => void) | undefined;
  let isLooking = false;
  let isWanted = false;
  let isClosed = false;

  const watch = (): void => {
    if (stopWatching !== undefined) return;
    const offCommit = database.onCommit((tables) => {
      // An empty set says that the tables are not known.
      const changesRights =
        scopesDependOn.size > 0 && (tables.size === 0 || [...tables].some((table) => scopesDependOn.has(table)));
      for (const stream of streams) {
        stream.isDirty = true;
        stream.isStale ||= changesRights;
      }
      schedule();
    });
    const offScopes = database.onScopesChanged((subject) => {
      for (const stream of streams) if (stream.subject === subject) stream.isStale = true;
      schedule();
    });
    const timer = setInterval(onInterval, Math.max(1, intervalMs / 4));
    // In Node a timer is an object that can keep the process alive.
    (timer as { unref?: () => void }).unref?.();
    stopWatching = () => {
      offCommit();
      offScopes();
      clearInterval(timer);
      stopWatching = undefined;
    };
  };

  const onInterval = (): void => {
    const time = now();
    // A clock that was set back must not keep a right alive: what lies ahead of it is long ago, too.
    const isOver = (since: number): boolean => Math.abs(time - since) >= intervalMs;
    for (const stream of streams) if (isOver(stream.askedAt)) stream.isStale = true;
    for (const stream of streams) if (isOver(stream.sentAt)) beat(stream, time);
    schedule();
  };

  const beat = (stream: Stream, time: number): void => {
    const { place } = stream;
    const lag = place === undefined ? 0 : place.scanned.seq - place.cursor.seq;
    const isLate = lag >= maxLag || (lag > 0 && Math.abs(time - stream.pagedAt) >= maxLagMs);
    if (place !== undefined && stream.carries === "pages" && isLate) {
      place.wantsPage = true;
      stream.isDirty = true;
    } else if (stream.deliver !== undefined && place !== undefined) {
      stream.sentAt = time;
      hand(stream, { frame: { kind: "heartbeat" } });
    }
  };

  const schedule = (): void => {
    isWanted = true;
    if (isLooking) return;
    isLooking = true;
    queueMicrotask(() => void lookAll());
  };

  const lookAll = async (): Promise<void> => {
    try {
      while (isWanted) {
        isWanted = false;
        await look();
      }
    } catch (error) {
      onError(error);
      // The database cannot be read now: nobody is left waiting for news that never come.
      for (const stream of streams) {
        if (stream.carries === "pages") end(stream, "pull");
        else stream.isDirty = true;
      }
    } finally {
      isLooking = false;
    }
  };

  const look = async (): Promise<void> => {
    const stale: Stream[] = [];
    for (const stream of streams) if (stream.deliver !== undefined && stream.isStale) stale.push(stream);
    for (let i = 0; i < stale.length; i += askedAtOnce) await Promise.all(stale.slice(i, i + askedAtOnce).map(refresh));
    // Rights that became stale while others were asked for wait for the next look.
    const ready: Stream[] = [];
    for (const stream of streams) {
      if (stream.deliver === undefined || !stream.isDirty || stream.isStale || stream.place === undefined) continue;
      stream.isDirty = false;
      ready.push(stream);
    }
    if (ready.length === 0) return;
    onLook?.();
    const { fresh, news } = await readAtHead(database.connection, function* () {
      const current = yield* withoutStale(ready);
      const places = current.map((stream) => stream.place as StreamPlace);
      return { fresh: current, news: yield* readNews(database, schemas, places) };
    });
    const time = now();
    const echoes: (() => void)[] = [];
    fresh.forEach((stream, i) => {
      const told = news[i] as StreamNews;
      // Its own changes a device can wait for: the others hear of them first.
      if (told.kind === "page" && told.isEcho) echoes.push(() => take(stream, told, time));
      else take(stream, told, time);
    });
    for (const tell of echoes) tell();
  };

  /**
   * Leaves out the streams whose rights a commit has overtaken that this process has not heard of yet: another process's,
   * or one that came while the app was asked. In the snapshot that their pages are read from, so that no row goes out that
   * was written after its reader lost the right to it.
   */
  function* withoutStale(ready: readonly Stream[]): Core<readonly Stream[]> {
    if (scopesDependOn.size > 0) {
      const head = yield* readHeadSeq(database);
      // What holds since an earlier moment holds since a later one: most often there is one question for all.
      for (const asOf of new Set(ready.map((stream) => stream.asOf ?? head).sort((a, b) => a - b))) {
        if (!(yield* areStale(database, { asOf }, scopesDependOn))) break;
        for (const stream of ready) if (stream.asOf === asOf) stream.isStale = true;
      }
      for (const stream of ready) if (stream.asOf !== undefined && !stream.isStale) stream.asOf = head;
    }
    const fresh = ready.filter((stream) => !stream.isStale);
    if (fresh.length === ready.length) return ready;
    for (const stream of ready) if (stream.isStale) stream.isDirty = true;
    isWanted = true;
    return fresh;
  }

  /** Asks what the subject may read; another target than the device's ends a stream of pages. */
  const refresh = async (stream: Stream): Promise<void> => {
    stream.isStale = false;
    stream.askedAt = now();
    try {
      const rights = await stream.askRights();
      stream.asOf = rights.asOf;
      const scopes = targetScopes(rights, stream.request.wanted);
      const { place } = stream;
      if (place === undefined || sameScopes(scopes, place.scopes)) return;
      if (stream.carries === "pages") return end(stream, "pull");
      place.scopes = scopes;
      place.scopesText = hashScopes(scopes);
      hand(stream, { frame: { kind: "poke" }, cursor: formatCursor(place.cursor) });
    } catch (error) {
      fail(stream, error);
    }
  };

  const take = (stream: Stream, news: StreamNews, time: number): void => {
    const { place } = stream;
    if (place === undefined || stream.isOver) return;
    if (news.kind === "gap") {
      if (stream.carries === "pages") return end(stream, "pull");
      place.cursor = place.scanned = news.head;
      return hand(stream, { frame: { kind: "poke" }, cursor: formatCursor(news.head) });
    }
    place.lastTx = news.lastTx;
    place.ackedTx = news.ackedTx;
    if (news.kind === "nothing") {
      place.scanned = news.scanned;
      return;
    }
    // What a poke says is pulled, however many pages it takes.
    const hasMore = news.hasMore && stream.carries === "pages";
    place.cursor = place.scanned = news.to;
    place.told = news.told;
    place.wantsPage = place.wantsOutcomes = hasMore;
    stream.isDirty ||= hasMore;
    stream.sentAt = time;
    stream.pagedAt = time;
    hand(
      stream,
      stream.carries === "pages" ? news.streamed : { frame: { kind: "poke" }, cursor: formatCursor(news.to) },
    );
  };

  const hand = (stream: Stream, value: StreamedFrame): void => {
    const { deliver } = stream;
    stream.deliver = undefined;
    stream.fail = undefined;
    deliver?.(value);
  };

  /** Ends a stream with a code, now or when its reader comes. */
  const end = (stream: Stream, reason: LiveEnd): void => {
    if (stream.isOver) return;
    const { deliver } = stream;
    if (deliver === undefined) {
      // Its reader hears of it when it comes; nobody looks after the stream until then.
      stream.ending ??= reason;
      forget(stream);
      return;
    }
    leave(stream);
    deliver({ frame: { kind: "end", reason } });
  };

  const fail = (stream: Stream, error: unknown): void => {
    const reject = stream.fail;
    leave(stream);
    reject?.(error);
  };

  const leave = (stream: Stream): void => {
    stream.isOver = true;
    stream.deliver = undefined;
    stream.fail = undefined;
    forget(stream);
  };

  const forget = (stream: Stream): void => {
    streams.delete(stream);
    if (streams.size === 0) stopWatching?.();
  };

  /** Finds where a stream begins; answers what it says first, if anything. */
  const begin = async (stream: Stream): Promise<StreamedFrame | undefined> => {
    // Watched from before its rights are asked for: what changes meanwhile is noticed.
    watch();
    streams.add(stream);
    stream.askedAt = now();
    stream.sentAt = now();
    stream.pagedAt = now();
    const rights = await stream.askRights();
    stream.asOf = rights.asOf;
    const scopes = targetScopes(rights, stream.request.wanted);
    const place = await readAtHead(database.connection, () => findPlace(stream, schemas, scopes));
    if (stream.isOver) return undefined;
    if (place.fits || stream.carries === "pokes") stream.place = place.place;
    stream.isDirty = true;
    if (place.fits) return undefined;
    if (stream.carries === "pokes") return { frame: { kind: "poke" }, cursor: formatCursor(place.place.cursor) };
    leave(stream);
    return { frame: { kind: "end", reason: "pull" } };
  };

  return {
    open(opened) {
      const stream = createStream(opened);
      return readStream(stream, { begin, schedule, leave, isClosed: () => isClosed });
    },
    wake() {
      if (streams.size === 0) return;
      for (const stream of streams) stream.isDirty = true;
      schedule();
    },
    close() {
      isClosed = true;
      for (const stream of streams) end(stream, "shutdown");
    },
    get count() {
      return streams.size;
    },
  };
}

/** Where a stream stands at first, and whether that is where its device stands (rule A1). */
function* findPlace(
  stream: Stream,
  schemas: SchemaCache,
  scopes: readonly string[],
): Core<{ readonly place: StreamPlace; readonly fits: boolean }> {
  const { request, subject, limit } = stream;
  const { deviceId, schema } = request;
  const { lastTx, ackedTx } = yield* readDevice(deviceId, subject);
  const head = yield* readHead();
  const epoch = yield* readMeta(metaKeys.epoch);
  const cursor: Position | undefined = request.cursor === undefined ? undefined : parseCursor(request.cursor);
  const at = cursor ?? head;
  const shared = (yield* schemas.read(schema))?.sharedHash;
  const scopesText = hashScopes(scopes);
  const { held } = request;
  const isHeld = typeof held === "string" ? held === scopesText : sameScopes([...held].sort(), scopes);
  // Something was handled since the device's last page, perhaps without leaving a trace in the log.
  const isBehind = lastTx.number > request.ackedTx;
  const place = {
    deviceId,
    scopes,
    scopesText,
    schema,
    limit,
    cursor: at,
    scanned: at,
    lastTx,
    ackedTx,
    told: request.ackedTx,
    wantsPage: isBehind,
    wantsOutcomes: isBehind,
  };
  const isOurs = request.epoch === undefined || request.epoch === epoch;
  return {
    place,
    fits:
      cursor !== undefined &&
      isOurs &&
      isHeld &&
      // V2: what the base lacks of what is sent now is fetched in a round.
      (shared === request.baseSchema || schema === request.baseSchema) &&
      cursor.seq <= head.seq,
  };
}
