/**
 * Reads a request's body with hard limits: on the bytes that arrive, on what they inflate to, and on the time they
 * take. What is refused is refused as early as can be told, and never buffered first.
 *
 * @module
 */

import { constants, brotliDecompress, gunzip, inflate } from "node:zlib";
import { promisify } from "node:util";
import { isSyncError, SyncError } from "../../protocol/errors.ts";
import { joinBytes } from "../../protocol/join-bytes.ts";
import { refuse } from "./error-answer.ts";
import type { Inbound } from "./inbound.ts";

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
export function checkBodyHeaders(headers: Inbound["headers"], contentType: string, maxBytes: number): void {
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
export async function readBody(inbound: Inbound, limits: BodyLimits): Promise<Uint8Array> {
  const bytes = await readWithin(inbound, limits);
  const encoding = bodyEncoding(inbound.headers);
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

function bodyEncoding(headers: Inbound["headers"]): string | undefined {
  const name = headers.get("content-encoding")?.trim().toLowerCase();
  return name === undefined || name === "" || name === "identity" ? undefined : name;
}

async function readWithin(inbound: Inbound, limits: BodyLimits): Promise<Uint8Array> {
  const { body } = inbound;
  if (body === undefined) return new Uint8Array(0);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeUp = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(tooSlow()), limits.timeoutMs);
  });
  const chunks: Uint8Array[] = [];
  let size = 0;
  const take = (chunk: Uint8Array): void => {
    size += chunk.byteLength;
    if (size > limits.maxBytes) throw tooLarge(limits.maxBytes);
    chunks.push(chunk);
  };
  try {
    await Promise.race([body.each(take), timeUp]);
  } catch (cause) {
    // Whatever went wrong, nobody reads on.
    body.drop(cause);
    if (isSyncError(cause)) throw cause;
    throw new SyncError({ code: "INVALID_MESSAGE", message: "The body could not be read to its end.", cause });
  } finally {
    clearTimeout(timer);
  }
  const declared = inbound.headers.get("content-length");
  if (declared !== null && Number(declared) !== size) {
    // A proxy in between may cut a body silently and leave its declared length as it was.
    const message = `The body has ${size} of its declared ${declared} bytes.`;
    throw new SyncError({ code: "INVALID_MESSAGE", message });
  }
  return joinBytes(chunks, size);
}

function tooSlow(): SyncError {
  return refuse(408, new SyncError({ code: "TIMEOUT", message: "The body took too long to arrive." }));
}

function tooLarge(maxBytes: number, cause?: unknown): SyncError {
  const message = `The body is larger than ${maxBytes} bytes.`;
  return refuse(413, new SyncError({ code: "TOO_LARGE", message, ...(cause === undefined ? {} : { cause }) }));
}
