/**
 * A live stream as bytes: frames of CBOR for our client, server-sent events for everybody else.
 *
 * Frames are asked for one by one, as fast as the caller reads: while it does not, nothing is computed for it, and what
 * happens meanwhile comes in one frame later. Silence is filled with heartbeats; a caller that takes none of them for a
 * while is gone. A stream ends with an `end` frame, with the error that ended it, or by the caller going away.
 *
 * @module
 */

import { isTrackedEnvelope } from "@trpc/server";
import { encodeCbor } from "../../protocol/cbor.ts";
import { toWire, type SyncError } from "../../protocol/errors.ts";
import { encodeErrorFrame, encodeFrame } from "../../protocol/http.ts";
import type { LiveEnd, LiveFrame } from "../../protocol/live.ts";
import { decodeLiveFrame, encodeLiveFrame } from "../../protocol/page-codec.ts";
import { encodedAnswer } from "../encoded.ts";

/** How a stream is written. */
export type StreamFormat = "frames" | "events";

export interface StreamOptions {
  /** What the `live` procedure yields: frames, or frames that are encoded already, tracked or not. */
  readonly source: AsyncIterable<unknown>;
  readonly format: StreamFormat;
  readonly heartbeatMs: number;
  /** When the stream ends by itself, and what it says then. */
  readonly lifetime: { readonly ms: number; readonly reason: LiveEnd };
  /** Stops the source. */
  readonly stop: () => void;
  /** What the caller is told about an error of the source. */
  readonly errorFor: (thrown: unknown) => SyncError;
  /** Called once, when the stream is over. */
  readonly onClose: (bytesOut: number) => void;
}

export interface OpenStream {
  readonly body: ReadableStream<Uint8Array>;
  /** Ends the stream: with a frame that says why, or at once. */
  readonly end: (reason?: LiveEnd) => void;
}

/** Heartbeats that a caller may leave unread before it counts as gone. */
const maxUnreadHeartbeats = 4;
/** The longest time a timer takes. */
const maxTimerMs = 2 ** 31 - 1;

/** Opens a stream over what the procedure yields. */
export function openStream(options: StreamOptions): OpenStream {
  const iterator = options.source[Symbol.asyncIterator]();
  const writer = writers[options.format];
  let controller: ReadableStreamDefaultController<Uint8Array>;
  let isOpen = true;
  let isQuiet = true;
  let unreadHeartbeats = 0;
  let bytesOut = 0;

  const write = (chunk: Uint8Array): void => {
    isQuiet = false;
    bytesOut += chunk.byteLength;
    controller.enqueue(chunk);
  };
  const close = (): void => {
    isOpen = false;
    clearInterval(heartbeats);
    clearTimeout(life);
    options.stop();
    // The source may wait in the middle of a step; it was told to stop and finishes by itself.
    iterator.return?.().catch(options.errorFor);
    options.onClose(bytesOut);
  };
  const closeWith = (chunk: Uint8Array | undefined): void => {
    if (!isOpen) return;
    if (chunk !== undefined) write(chunk);
    controller.close();
    close();
  };
  const end = (reason?: LiveEnd): void =>
    closeWith(reason === undefined ? undefined : writer.frame({ kind: "end", reason }));

  const beat = (): void => {
    if ((controller.desiredSize ?? 0) > 0) {
      if (isQuiet) write(writer.heartbeat);
      isQuiet = true;
      return;
    }
    unreadHeartbeats += 1;
    if (unreadHeartbeats < maxUnreadHeartbeats) return;
    controller.error(new Error("The caller does not read."));
    close();
  };
  const heartbeats = setInterval(beat, options.heartbeatMs);
  const life = setTimeout(() => end(options.lifetime.reason), Math.min(maxTimerMs, Math.max(0, options.lifetime.ms)));

  const body = new ReadableStream<Uint8Array>({
    start(started) {
      controller = started;
      // The first bytes make servers send the headers on.
      write(writer.opening);
    },
    async pull() {
      unreadHeartbeats = 0;
      try {
        const { done, value } = await iterator.next();
        if (!isOpen) return;
        if (done === true) return closeWith(undefined);
        const frame = frameOf(value);
        if (isEnd(frame)) return closeWith(writer.frame(frame));
        write(writer.frame(frame));
      } catch (thrown) {
        if (isOpen) closeWith(writer.error(options.errorFor(thrown)));
      }
    },
    cancel() {
      if (isOpen) close();
    },
  });
  return { body, end };
}

/** The headers of a stream's answer. Compressing proxies, and servers that gather output, must leave it alone. */
export function streamHeaders(contentType: string): Record<string, string> {
  return {
    "content-type": contentType,
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
    vary: "accept",
  };
}

/** A tracked envelope's id repeats what the frame says; only its content counts. */
function frameOf(value: unknown): LiveFrame | Uint8Array {
  const content: unknown = isTrackedEnvelope(value) ? value[1] : value;
  // The procedure is our own; its output type is the router's business.
  return content as LiveFrame | Uint8Array;
}

function isEnd(frame: LiveFrame | Uint8Array): boolean {
  return !(frame instanceof Uint8Array) && frame.kind === "end";
}

function bytesOf(frame: LiveFrame | Uint8Array): Uint8Array {
  if (frame instanceof Uint8Array) return frame;
  return frame.kind === "page" ? encodedAnswer(frame) : encodeLiveFrame(frame);
}

interface StreamWriter {
  readonly opening: Uint8Array;
  readonly heartbeat: Uint8Array;
  readonly frame: (frame: LiveFrame | Uint8Array) => Uint8Array;
  readonly error: (error: SyncError) => Uint8Array;
}

const text = new TextEncoder();
const heartbeatFrame = encodeFrame(encodeLiveFrame({ kind: "heartbeat" }));

const writers: Readonly<Record<StreamFormat, StreamWriter>> = {
  frames: {
    opening: heartbeatFrame,
    heartbeat: heartbeatFrame,
    frame: (frame) => encodeFrame(bytesOf(frame)),
    error: (error) => encodeErrorFrame(encodeCbor({ error: toWire(error) })),
  },
  events: {
    opening: text.encode("retry: 1000\n\n"),
    heartbeat: text.encode(": heartbeat\n\n"),
    frame: (frame) => event(bytesOf(frame), cursorOf(frame)),
    error: (error) => event(encodeCbor({ error: toWire(error) }), undefined, "sync-error"),
  },
};

/** The cursor to resume at after a frame: that of a page which ends a round. */
function cursorOf(frame: LiveFrame | Uint8Array): string | undefined {
  const page = frame instanceof Uint8Array ? decodeLiveFrame(frame) : frame;
  return page.kind === "page" ? page.to : undefined;
}

function event(bytes: Uint8Array, id: string | undefined, name?: string): Uint8Array {
  const base64 = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
  return text.encode(
    `${id === undefined ? "" : `id: ${id}\n`}${name === undefined ? "" : `event: ${name}\n`}data: ${base64}\n\n`,
  );
}
