/**
 * One live stream: its state, and the reader's side of it.
 *
 * @module
 */

import type { Cursor } from "../protocol/ids.ts";
import type { LiveEnd, LiveFrame } from "../protocol/live.ts";
import type { PullRequest } from "../protocol/pull.ts";
import { frameStream, type FrameStream } from "./frame-stream.ts";
import type { StreamPlace } from "./live-pages.ts";
import type { AskedRights } from "./scopes.ts";

/** A frame, and for pages and pokes the cursor that a reader may resume at. */
export interface StreamedFrame {
  readonly frame: LiveFrame;
  readonly cursor?: Cursor;
}

/** What a stream is opened with. */
export interface StreamOptions {
  readonly request: PullRequest;
  readonly subject: string;
  /** Asks the app what the subject may read now. */
  readonly askRights: () => Promise<AskedRights>;
  readonly carries: "pages" | "pokes";
  readonly signal: AbortSignal;
  /** Rows in one page, at most. */
  readonly limit: number;
}

/** A stream that is open. What is not read-only changes as it goes on. */
export interface Stream extends StreamOptions {
  place: StreamPlace | undefined;
  /** Given to the reader when there is something; absent while it does not wait. */
  deliver: ((frame: StreamedFrame) => void) | undefined;
  fail: ((error: unknown) => void) | undefined;
  /** Whether the database may hold news. */
  isDirty: boolean;
  /** Whether rights must be asked for before anything is sent. */
  isStale: boolean;
  /** The head of the log at which its rights are known to hold; absent where no table tells of their changes. */
  asOf: number | undefined;
  askedAt: number;
  sentAt: number;
  /** When its device's cursor last moved. */
  pagedAt: number;
  /** What the stream says when its reader comes next; then it is over. */
  ending: LiveEnd | undefined;
  isOver: boolean;
}

/** Makes a stream that nobody has read yet. */
export function createStream(options: StreamOptions): Stream {
  return {
    ...options,
    place: undefined,
    deliver: undefined,
    fail: undefined,
    isDirty: false,
    isStale: false,
    asOf: undefined,
    askedAt: 0,
    sentAt: 0,
    pagedAt: 0,
    ending: undefined,
    isOver: false,
  };
}

/** What a reader asks of those who look after its stream. */
export interface Reading {
  readonly begin: (stream: Stream) => Promise<StreamedFrame | undefined>;
  readonly schedule: () => void;
  readonly leave: (stream: Stream) => void;
  readonly isClosed: () => boolean;
}

/** The reader's side. */
export function readStream(stream: Stream, reading: Reading): FrameStream<StreamedFrame> {
  return frameStream((taker) => {
    let isBegun = false;
    let isOver = false;
    const over = (error?: unknown): void => {
      if (isOver) return;
      isOver = true;
      stream.signal.removeEventListener("abort", stop);
      reading.leave(stream);
      taker.over(error);
    };
    const stop = (): void => over();
    const give = (frame: StreamedFrame): void => {
      if (isOver) return;
      const wantsMore = taker.take(frame);
      if (frame.frame.kind === "end") over();
      else if (wantsMore) ask();
    };
    const begin = async (): Promise<void> => {
      const first = await reading.begin(stream);
      if (first === undefined) ask();
      else give(first);
    };
    const ask = (): void => {
      if (stream.isOver || (!isBegun && stream.signal.aborted)) return over();
      if (reading.isClosed()) stream.ending = "shutdown";
      if (stream.ending !== undefined) return give({ frame: { kind: "end", reason: stream.ending } });
      if (!isBegun) {
        isBegun = true;
        stream.signal.addEventListener("abort", stop, { once: true });
        begin().catch(over);
        return;
      }
      stream.deliver = give;
      stream.fail = over;
      if (stream.isDirty || stream.isStale) reading.schedule();
    };
    return { ask, stop };
  });
}
