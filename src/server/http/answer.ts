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

/** An answer with a CBOR body that is encoded already. */
export async function cborAnswer(
  request: Request,
  bytes: Uint8Array,
  options: {
    readonly status?: number;
    readonly headers?: Readonly<Record<string, string>>;
    readonly compressOverBytes: number;
  },
): Promise<Response> {
  const headers = new Headers(options.headers);
  headers.set("content-type", cborContentType);
  headers.set("cache-control", "no-store");
  headers.set("x-content-type-options", "nosniff");
  headers.append("vary", acceptEncodingHeader);
  const encoding = bytes.byteLength > options.compressOverBytes ? wantedEncoding(request.headers) : undefined;
  let body = bytes;
  if (encoding !== undefined) {
    body = await compressed(bytes, encoding);
    headers.set(encodingHeader, encoding);
  }
  headers.set("content-length", String(body.byteLength));
  return new Response(asBody(body), { status: options.status ?? 200, headers });
}

/** An answer for people and machines alike: JSON if the request's `Accept` names it, else CBOR. */
export async function plainAnswer(request: Request, value: unknown, status = 200): Promise<Response> {
  if (!acceptsJson(request.headers))
    return cborAnswer(request, encodeCbor(value), { status, compressOverBytes: Infinity });
  return jsonAnswer(value, status);
}

/** An answer in JSON, whatever was asked for. */
export function jsonAnswer(value: unknown, status = 200): Response {
  const text = JSON.stringify(value, (_key, part: unknown) => (typeof part === "bigint" ? String(part) : part));
  const bytes = new TextEncoder().encode(text);
  return new Response(bytes, {
    status,
    headers: {
      "content-type": "application/json",
      "content-length": String(bytes.byteLength),
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
    },
  });
}

/** An answer that says what went wrong, in the form that {@link plainAnswer} would choose. */
export async function failedAnswer(request: Request, failure: ErrorAnswer): Promise<Response> {
  const response = await plainAnswer(request, { error: toWire(failure.error) }, failure.status);
  for (const [name, value] of Object.entries(failure.headers)) response.headers.set(name, value);
  return response;
}

function acceptsJson(headers: Headers): boolean {
  return mediaTypes(headers.get("accept")).some((type) => type === "application/json" || type === "text/html");
}

/** The media types that an `Accept` header names, without their parameters. */
export function mediaTypes(accept: string | null): readonly string[] {
  return (accept ?? "").split(",").map((part) => part.split(";", 1)[0]?.trim().toLowerCase() ?? "");
}

function wantedEncoding(headers: Headers): AnswerEncoding | undefined {
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

/** `BodyInit` wants to know that the memory is not shared, which nothing of ours is. */
export function asBody(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes as Uint8Array<ArrayBuffer>;
}
