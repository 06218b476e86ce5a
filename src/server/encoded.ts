/**
 * Answers that are encoded already. A page that is computed once for many devices is encoded once too: its bytes stay
 * with the answer object for as long as that lives.
 *
 * @module
 */

import { encodePullAnswer } from "../protocol/page-codec.ts";
import type { PullAnswer } from "../protocol/pull.ts";

const encodings = new WeakMap<PullAnswer, Uint8Array<ArrayBuffer>>();

/** The answer as CBOR; encoded at the first call, the same bytes afterwards. */
export function encodedAnswer(answer: PullAnswer): Uint8Array<ArrayBuffer> {
  const known = encodings.get(answer);
  if (known !== undefined) return known;
  const bytes = encodePullAnswer(answer);
  encodings.set(answer, bytes);
  return bytes;
}
