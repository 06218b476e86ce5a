/**
 * Takes a live stream's bytes apart into frames (`protocol/http.ts`), however the network cut them into chunks.
 *
 * @module
 */

import { SyncError } from "../protocol/errors.ts";
import { frameHeaderBytes } from "../protocol/http.ts";
import { joinBytes } from "../protocol/join-bytes.ts";
import type { ByteSource } from "./http-sender.ts";

/** One frame: a live frame's bytes, or those of the error that ended the stream. */
export interface RawFrame {
  readonly bytes: Uint8Array;
  readonly isError: boolean;
}

export interface FrameReaderOptions {
  /** A frame that says it is longer is refused before any of it is stored. */
  readonly maxFrameBytes: number;
  /** Called for each chunk that arrives. */
  readonly onChunk: () => void;
  /** Ends the reading with its reason; not every `fetch` lets go of a body that it has handed over. */
  readonly signal: AbortSignal;
}

/** Reads frames until the stream ends; throws `OFFLINE` when it ends in the middle of one. */
export async function* readFrames(
  source: ByteSource,
  options: FrameReaderOptions,
): AsyncGenerator<RawFrame, void, void> {
  const buffer = createBuffer();
  const { signal } = options;
  signal.addEventListener("abort", source.leave);
  let isError = false;
  try {
    for (;;) {
      const length = buffer.size < frameHeaderBytes ? undefined : buffer.peekLength();
      if (length !== undefined && length > options.maxFrameBytes) throw frameTooLarge(length, options.maxFrameBytes);
      if (length !== undefined && buffer.size >= frameHeaderBytes + length) {
        const bytes = buffer.take(frameHeaderBytes + length).subarray(frameHeaderBytes);
        if (length > 0) yield { bytes, isError };
        // An empty frame announces the error frame.
        isError = length === 0;
        continue;
      }
      const chunk = await source.read();
      signal.throwIfAborted();
      if (chunk === undefined) break;
      options.onChunk();
      buffer.add(chunk);
    }
    if (buffer.size > 0)
      throw new SyncError({ code: "OFFLINE", message: "The live stream broke off in the middle of a frame." });
  } finally {
    signal.removeEventListener("abort", source.leave);
    source.leave();
  }
}

interface ByteBuffer {
  readonly size: number;
  readonly add: (chunk: Uint8Array) => void;
  /** The length that the first four bytes say. */
  readonly peekLength: () => number;
  /** Removes the first bytes and returns them as one piece. */
  readonly take: (count: number) => Uint8Array;
}

/** Keeps chunks as they come and joins them once, so that a long frame in many chunks costs no more than its length. */
function createBuffer(): ByteBuffer {
  let chunks: Uint8Array[] = [];
  let size = 0;
  const join = (): Uint8Array => {
    const joined = joinBytes(chunks, size);
    chunks = [joined];
    return joined;
  };
  return {
    get size() {
      return size;
    },
    add(chunk) {
      if (chunk.byteLength === 0) return;
      chunks.push(chunk);
      size += chunk.byteLength;
    },
    peekLength() {
      const [first] = chunks;
      const head = first !== undefined && first.byteLength >= frameHeaderBytes ? first : join();
      return new DataView(head.buffer, head.byteOffset, frameHeaderBytes).getUint32(0);
    },
    take(count) {
      const joined = join();
      size -= count;
      chunks = size === 0 ? [] : [joined.subarray(count)];
      return joined.subarray(0, count);
    },
  };
}

function frameTooLarge(length: number, limit: number): SyncError {
  return new SyncError({
    code: "TOO_LARGE",
    message: `A live frame of ${length} bytes is over the limit.`,
    details: { limit },
  });
}
