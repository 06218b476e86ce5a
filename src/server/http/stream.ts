/**
 * A live stream as bytes: frames of CBOR for our client, server-sent events for everybody else.
 *
 * Frames are asked for one by one, as fast as the caller reads: while it does not, nothing is computed for it, and what
 * happens meanwhile comes in one frame later. Silence is filled with heartbeats; a caller that takes none of them for a
 * while is gone. A stream ends with an `end` frame, with the error that ended it, or by the caller going away.
 *
 * Where the bytes go is the server's business: into a web stream, or straight to a socket of Node's.
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
import type { FrameTaker, StartFlow } from "../frame-stream.ts";

/** How a stream is written. */
export type StreamFormat = "frames" | "events";

/** Where the bytes of an answer go. */
export interface ByteSink {
  /** Writes; answers whether more may follow at once. Where not, `more` is called. */
  readonly write: (chunk: Uint8Array) => boolean;
  /** Whether the caller has taken what was written. */
  readonly hasRoom: () => boolean;
  /** Nothing more follows. */
  readonly end: () => void;
  /** Breaks the answer off. */
  readonly break: (error: Error) => void;
}

/** What a sink tells of the caller. */
export interface CallerSide {
  /** There is room again. */
  readonly more: () => void;
  /** The caller has gone. */
  readonly left: () => void;
}

/** Opens the body of an answer that goes on. Called once. */
export type OpenBody = (sink: ByteSink) => CallerSide;

export interface StreamOptions {
  /** What the `live` procedure yields: frames, or frames that are encoded already, tracked or not. */
  readonly start: StartFlow<unknown>;
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

export interface OpenStream extends CallerSide {
  /** Ends the stream: with a frame that says why, or at once. */
  readonly end: (reason?: LiveEnd) => void;
}

/** Heartbeats that a caller may leave unread before it counts as gone. */
const maxUnreadHeartbeats = 4;
/** The longest time a timer takes. */
const maxTimerMs = 2 ** 31 - 1;

/** Opens a stream over what the procedure yields. */
export function openStream(options: StreamOptions, sink: ByteSink): OpenStream {
  const writer = writers[options.format];
  let isOpen = true;
  let isAsked = false;
  let isQuiet = true;
  let unreadHeartbeats = 0;
  let bytesOut = 0;

  const write = (chunk: Uint8Array): boolean => {
    isQuiet = false;
    bytesOut += chunk.byteLength;
    return sink.write(chunk);
  };
  const close = (): void => {
    isOpen = false;
    clearInterval(heartbeats);
    clearTimeout(life);
    options.stop();
    flow.stop();
    options.onClose(bytesOut);
  };
  const closeWith = (chunk: Uint8Array | undefined): void => {
    if (!isOpen) return;
    if (chunk !== undefined) write(chunk);
    sink.end();
    close();
  };
  const end = (reason?: LiveEnd): void =>
    closeWith(reason === undefined ? undefined : writer.frame({ kind: "end", reason }));
  const more = (): void => {
    unreadHeartbeats = 0;
    if (!isOpen || isAsked) return;
    isAsked = true;
    flow.ask();
  };

  const taker: FrameTaker<unknown> = {
    take(value) {
      isAsked = false;
      if (!isOpen) return false;
      try {
        const frame = frameOf(value);
        const chunk = writer.frame(frame);
        if (isEnd(frame)) closeWith(chunk);
        else if (write(chunk)) isAsked = true;
        else return false;
      } catch (thrown) {
        taker.over(thrown);
      }
      return isAsked;
    },
    over(error) {
      if (isOpen) closeWith(error === undefined ? undefined : writer.error(options.errorFor(error)));
    },
  };
  const flow = options.start(taker);

  const beat = (): void => {
    if (sink.hasRoom()) {
      if (isQuiet) write(writer.heartbeat);
      isQuiet = true;
      return;
    }
    unreadHeartbeats += 1;
    if (unreadHeartbeats < maxUnreadHeartbeats) return;
    sink.break(new Error("The caller does not read."));
    close();
  };
  const heartbeats = setInterval(beat, options.heartbeatMs);
  const life = setTimeout(() => end(options.lifetime.reason), Math.min(maxTimerMs, Math.max(0, options.lifetime.ms)));
  // The first bytes make servers send the headers on.
  if (write(writer.opening)) more();
  return {
    more,
    end,
    left() {
      if (isOpen) close();
    },
  };
}

/** The headers of a stream's answer. Compressing proxies, and servers that gather output, must leave it alone. */
export function streamHeaders(contentType: string): Headers {
  return new Headers({
    "content-type": contentType,
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
    vary: "accept",
  });
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
    frame: framed,
    error: (error) => encodeErrorFrame(encodeCbor({ error: toWire(error) })),
  },
  events: {
    opening: text.encode("retry: 1000\n\n"),
    heartbeat: text.encode(": heartbeat\n\n"),
    frame: (frame) => event(bytesOf(frame), cursorOf(frame)),
    error: (error) => event(encodeCbor({ error: toWire(error) }), undefined, "sync-error"),
  },
};

const framedPages = new WeakMap<LiveFrame, Uint8Array>();

/** As a `Buffer`, which a socket takes as it is; kept with a page, since most often it goes to many devices. */
function framed(frame: LiveFrame | Uint8Array): Uint8Array {
  if (frame instanceof Uint8Array) return encodeFrame(frame);
  const known = framedPages.get(frame);
  if (known !== undefined) return known;
  const { buffer, byteOffset, byteLength } = encodeFrame(bytesOf(frame));
  const bytes = Buffer.from(buffer, byteOffset, byteLength);
  framedPages.set(frame, bytes);
  return bytes;
}

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
