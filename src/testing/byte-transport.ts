/**
 * A transport whose messages travel as bytes: what goes through the codecs and the parsers is what arrives, as over HTTP.
 *
 * @module
 */

import type { Transport } from "../client/transport.ts";
import { decodeCbor, encodeCbor } from "../protocol/cbor.ts";
import { decodeLiveFrame, decodePullAnswer, encodeLiveFrame, encodePullAnswer } from "../protocol/page-codec.ts";
import { decodePushRequest, encodePushRequest } from "../protocol/push-codec.ts";
import {
  parseHandshakeAnswer,
  parseHandshakeRequest,
  parsePullRequest,
  parsePushAnswer,
  parsePushRequest,
} from "../protocol/parse.ts";

/** Wraps a transport. */
export function byteTransport(inner: Transport): Transport {
  const { live } = inner;
  return {
    handshake: async (request, options) =>
      parseHandshakeAnswer(
        decodeCbor(encodeCbor(await inner.handshake(parseHandshakeRequest(decodeCbor(encodeCbor(request))), options))),
      ),
    pull: async (request, options) =>
      decodePullAnswer(encodePullAnswer(await inner.pull(parsePullRequest(decodeCbor(encodeCbor(request))), options))),
    push: async (request, options) =>
      parsePushAnswer(
        decodeCbor(
          encodeCbor(await inner.push(parsePushRequest(decodePushRequest(encodePushRequest(request))), options)),
        ),
      ),
    ...(live
      ? {
          async *live(request, options) {
            for await (const frame of live.call(inner, parsePullRequest(decodeCbor(encodeCbor(request))), options)) {
              yield decodeLiveFrame(encodeLiveFrame(frame));
            }
          },
        }
      : {}),
    ...(inner.liveKind ? { liveKind: inner.liveKind } : {}),
    close: () => inner.close?.(),
  };
}
