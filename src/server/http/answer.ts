/**
 * Builds answers: CBOR, or JSON where a person asks for it, compressed as the caller reads it.
 *
 * Compression is our own header's business (see `protocol/http.ts`). The compressed form of an encoded page is kept as
 * long as the page is, so that devices which share a page share its compression too.
 *
 * @module
 */

import { brotliCompress, constants, gzip } from "node:zlib";
import { promisify } from "node:util";
import { encodeCbor } from "../../protocol/cbor.ts";
import { toWire } from "../../protocol/errors.ts";
import { acceptEncodingHeader, cborContentType, encodingHeader } from "../../protocol/http.ts";
import type { ErrorAnswer } from "./error-answer.ts";
import type { Inbound } from "./inbound.ts";
import type { OpenBody } from "./stream.ts";

const compressors = {
  // Level 1 is the best bargain by far: see the measurements of the wire.
  gzip: (bytes: Uint8Array) => promisify<Uint8Array, { level: number }, Buffer>(gzip)(bytes, { level: 1 }),
  br: (bytes: Uint8Array) =>
    promisify(brotliCompress)(bytes, {
      params: { [constants.BROTLI_PARAM_QUALITY]: 3, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.byteLength },
    }),
} as const;
type AnswerEncoding = keyof typeof compressors;

const compressedByBody = new WeakMap<Uint8Array, Map<AnswerEncoding, Promise<Uint8Array>>>();

/** What a caller is answered, whatever server it came through. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** All of it, or what opens a stream. */
  readonly body: Uint8Array | OpenBody | null;
  /** Whether the body itself says where it ends, so that HTTP need not frame it once more. @default false */
  readonly isFramed?: boolean;
}

/** An answer with a CBOR body that is encoded already. */
export async function cborAnswer(
  inbound: Inbound,
  bytes: Uint8Array,
  options: {
    readonly status?: number;
    readonly headers?: Readonly<Record<string, string>>;
    readonly compressOverBytes: number;
  },
): Promise<Answer> {
  const headers = new Headers(options.headers);
  headers.set("content-type", cborContentType);
  headers.set("cache-control", "no-store");
  headers.set("x-content-type-options", "nosniff");
  headers.append("vary", acceptEncodingHeader);
  const encoding = bytes.byteLength > options.compressOverBytes ? wantedEncoding(inbound.headers) : undefined;
  let body = bytes;
  if (encoding !== undefined) {
    body = await compressed(bytes, encoding);
    headers.set(encodingHeader, encoding);
  }
  headers.set("content-length", String(body.byteLength));
  return { status: options.status ?? 200, headers, body };
}

/** An answer for people and machines alike: JSON if the request's `Accept` names it, else CBOR. */
export async function plainAnswer(inbound: Inbound, value: unknown, status = 200): Promise<Answer> {
  if (!acceptsJson(inbound.headers))
    return cborAnswer(inbound, encodeCbor(value), { status, compressOverBytes: Infinity });
  return jsonAnswer(value, status);
}

/** An answer in JSON, whatever was asked for. */
export function jsonAnswer(value: unknown, status = 200): Answer {
  const text = JSON.stringify(value, (_key, part: unknown) => (typeof part === "bigint" ? String(part) : part));
  const body = new TextEncoder().encode(text);
  const headers = new Headers({
    "content-type": "application/json",
    "content-length": String(body.byteLength),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  return { status, headers, body };
}

/** An answer that says what went wrong, in the form that {@link plainAnswer} would choose. */
export async function failedAnswer(inbound: Inbound, failure: ErrorAnswer): Promise<Answer> {
  const answer = await plainAnswer(inbound, { error: toWire(failure.error) }, failure.status);
  for (const [name, value] of Object.entries(failure.headers)) answer.headers.set(name, value);
  return answer;
}

function acceptsJson(headers: Inbound["headers"]): boolean {
  return mediaTypes(headers.get("accept")).some((type) => type === "application/json" || type === "text/html");
}

/** The media types that an `Accept` header names, without their parameters. */
export function mediaTypes(accept: string | null): readonly string[] {
  return (accept ?? "").split(",").map((part) => part.split(";", 1)[0]?.trim().toLowerCase() ?? "");
}

function wantedEncoding(headers: Inbound["headers"]): AnswerEncoding | undefined {
  for (const name of (headers.get(acceptEncodingHeader) ?? "").split(",")) {
    const encoding = name.trim().toLowerCase();
    if (encoding === "gzip" || encoding === "br") return encoding;
  }
  return undefined;
}

function compressed(bytes: Uint8Array, encoding: AnswerEncoding): Promise<Uint8Array> {
  let known = compressedByBody.get(bytes);
  if (known === undefined) {
    known = new Map();
    compressedByBody.set(bytes, known);
  }
  let result = known.get(encoding);
  if (result === undefined) {
    result = compressors[encoding](bytes);
    known.set(encoding, result);
  }
  return result;
}
