/**
 * Reads a request's body with hard limits: on the bytes that arrive, on what they inflate to, and on the time they
 * take. What is refused is refused as early as can be told, and never buffered first.
 *
 * @module
 */

import { constants, brotliDecompress, gunzip, inflate } from "node:zlib";
import { promisify } from "node:util";
import { isSyncError, SyncError } from "../../protocol/errors.ts";
import { refuse } from "./error-answer.ts";

export interface BodyLimits {
  /** Bytes of a body, both as they arrive and inflated. */
  readonly maxBytes: number;
  /** Milliseconds until the whole body must have come. */
  readonly timeoutMs: number;
}

const inflaters = {
  gzip: promisify<Uint8Array, { maxOutputLength: number }, Buffer>(gunzip),
  deflate: promisify<Uint8Array, { maxOutputLength: number }, Buffer>(inflate),
  br: (bytes: Uint8Array, { maxOutputLength }: { maxOutputLength: number }) =>
    promisify(brotliDecompress)(bytes, {
      maxOutputLength,
      // A larger window would let a few bytes claim a gigabyte of memory.
      params: { [constants.BROTLI_DECODER_PARAM_LARGE_WINDOW]: 0 },
    }),
} as const;
type BodyEncoding = keyof typeof inflaters;

const isBodyEncoding = (name: string): name is BodyEncoding => Object.hasOwn(inflaters, name);

/** Refuses what the headers alone condemn, before anybody is asked who sends it. */
export function checkBodyHeaders(headers: Headers, contentType: string, maxBytes: number): void {
  const type = headers.get("content-type")?.split(";", 1)[0]?.trim().toLowerCase();
  if (type !== contentType) {
    const message = `The body's content type must be \`${contentType}\`.`;
    throw refuse(415, new SyncError({ code: "INVALID_MESSAGE", message }));
  }
  const encoding = bodyEncoding(headers);
  if (encoding !== undefined && !isBodyEncoding(encoding)) {
    const message = "The body's `Content-Encoding` must be one of gzip, deflate and br.";
    throw refuse(415, new SyncError({ code: "INVALID_MESSAGE", message }), {
      "accept-encoding": Object.keys(inflaters).join(", "),
    });
  }
  const declared = headers.get("content-length");
  if (declared !== null && Number(declared) > maxBytes) throw tooLarge(maxBytes);
}

/** Reads and inflates a body. Callers have run {@link checkBodyHeaders}. */
export async function readBody(request: Request, limits: BodyLimits): Promise<Uint8Array> {
  const bytes = await readWithin(request, limits);
  const encoding = bodyEncoding(request.headers);
  if (encoding === undefined || !isBodyEncoding(encoding)) return bytes;
  try {
    return await inflaters[encoding](bytes, { maxOutputLength: limits.maxBytes });
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ERR_BUFFER_TOO_LARGE") {
      throw tooLarge(limits.maxBytes, cause);
    }
    throw new SyncError({ code: "INVALID_MESSAGE", message: `The body is not valid ${encoding}.`, cause });
  }
}

function bodyEncoding(headers: Headers): string | undefined {
  const name = headers.get("content-encoding")?.trim().toLowerCase();
  return name === undefined || name === "" || name === "identity" ? undefined : name;
}

async function readWithin(request: Request, limits: BodyLimits): Promise<Uint8Array> {
  if (request.body === null) return new Uint8Array(0);
  const reader = request.body.getReader();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeUp = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(tooSlow()), limits.timeoutMs);
  });
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await Promise.race([reader.read(), timeUp]);
      if (done) break;
      size += value.byteLength;
      if (size > limits.maxBytes) throw tooLarge(limits.maxBytes);
      chunks.push(value);
    }
  } catch (cause) {
    // Whatever went wrong, nobody reads on. Cancelling fails only where the stream already has.
    reader.cancel(cause).catch(() => {});
    if (isSyncError(cause)) throw cause;
    throw new SyncError({ code: "INVALID_MESSAGE", message: "The body could not be read to its end.", cause });
  } finally {
    clearTimeout(timer);
  }
  const declared = request.headers.get("content-length");
  if (declared !== null && Number(declared) !== size) {
    // A proxy in between may cut a body silently and leave its declared length as it was.
    const message = `The body has ${size} of its declared ${declared} bytes.`;
    throw new SyncError({ code: "INVALID_MESSAGE", message });
  }
  return joined(chunks, size);
}

function joined(chunks: readonly Uint8Array[], size: number): Uint8Array {
  const [first] = chunks;
  if (chunks.length === 1 && first !== undefined) return first;
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.byteLength;
  }
  return bytes;
}

function tooSlow(): SyncError {
  return refuse(408, new SyncError({ code: "TIMEOUT", message: "The body took too long to arrive." }));
}

function tooLarge(maxBytes: number, cause?: unknown): SyncError {
  const message = `The body is larger than ${maxBytes} bytes.`;
  return refuse(413, new SyncError({ code: "TOO_LARGE", message, ...(cause === undefined ? {} : { cause }) }));
}
