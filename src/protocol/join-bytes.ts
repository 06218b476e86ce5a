/**
 * Joins the chunks in which bytes came over the network, once, so that a long body in many chunks costs no more than its length.
 *
 * @module
 */

/** The chunks' bytes in one array of `size` bytes; a single chunk is given back as it is, without a copy. */
export function joinBytes(chunks: readonly Uint8Array[], size: number): Uint8Array {
  const [first] = chunks;
  if (first !== undefined && chunks.length === 1) return first;
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.byteLength;
  }
  return bytes;
}
