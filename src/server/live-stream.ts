/**
 * One live stream: its state, and the reader's side of it.
 *
 * @module
 */

import type { Cursor } from "../protocol/ids.ts";
import type { LiveEnd, LiveFrame } from "../protocol/live.ts";
import type { PullRequest } from "../protocol/pull.ts";
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
  deliver: ((result: IteratorResult<StreamedFrame, undefined>) => void) | undefined;
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

type Result = IteratorResult<StreamedFrame, undefined>;
const over: Result = { done: true, value: undefined };

/**
 * The reader's side. Written by hand: a generator that waits cannot be told to stop before what it waits for has come.
 */
export function createReader(stream: Stream, reading: Reading): AsyncIterableIterator<StreamedFrame> {
  let isBegun = false;
  const stop = (): void => {
    const { deliver } = stream;
    stream.signal.removeEventListener("abort", stop);
    reading.leave(stream);
    deliver?.(over);
  };
  const wait = (): Promise<Result> =>
    new Promise((resolve, reject) => {
      stream.deliver = resolve;
      stream.fail = reject;
      if (stream.isDirty || stream.isStale) reading.schedule();
    });
  const finish = (frame: StreamedFrame): Result => {
    if (frame.frame.kind === "end") stop();
    return { done: false, value: frame };
  };
  const step = async (): Promise<Result> => {
    if (stream.signal.aborted) stop();
    if (stream.isOver) return over;
    if (reading.isClosed()) stream.ending = "shutdown";
    if (stream.ending !== undefined) return finish({ frame: { kind: "end", reason: stream.ending } });
    if (!isBegun) {
      isBegun = true;
      stream.signal.addEventListener("abort", stop, { once: true });
      try {
        const first = await reading.begin(stream);
        if (first !== undefined) return finish(first);
      } catch (error) {
        stop();
        throw error;
      }
      return step();
    }
    const result = await wait();
    return result.done === true ? result : finish(result.value);
  };
  // A reader that asks again before it was answered is answered in order.
  let last: Promise<unknown> = Promise.resolve();
  return {
    next() {
      const result = last.then(step, step);
      last = result;
      return result;
    },
    async return() {
      stop();
      return over;
    },
    async throw(error) {
      stop();
      throw error;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
