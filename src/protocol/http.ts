/**
 * How the protocol travels over plain HTTP: content types, headers, and the frames of a live stream. Both sides of the
 * wire import these names, and nobody else has any.
 *
 * A compressed answer is named by a header of our own, since some servers strip `Content-Encoding` from what a handler
 * returns and would deliver compressed bytes unlabelled; request bodies use the standard header.
 *
 * A live stream is a sequence of frames: four bytes of length, big-endian, then that many bytes of CBOR. A length of
 * zero says that the one frame after it is no live frame but the error that ended the stream: `{ error }`.
 *
 * @module
 */

export const cborContentType = "application/cbor";
export const framesContentType = "application/x-sync-frames";
export const eventsContentType = "text/event-stream";

/** Names the compression of an answer's body: `gzip` or `br`. */
export const encodingHeader = "x-sync-encoding";
/** The compressions that a device reads, the preferred one first. */
export const acceptEncodingHeader = "x-sync-accept-encoding";

/** Bytes before each frame. */
export const frameHeaderBytes = 4;

const framesByBody = new WeakMap<Uint8Array, Uint8Array<ArrayBuffer>>();

/**
 * Puts the length before a frame's bytes. The result is kept as long as the bytes are, so that a page which is encoded
 * once for many devices is framed once too.
 */
export function encodeFrame(body: Uint8Array): Uint8Array<ArrayBuffer> {
  const known = framesByBody.get(body);
  if (known !== undefined) return known;
  const frame = new Uint8Array(frameHeaderBytes + body.byteLength);
  new DataView(frame.buffer).setUint32(0, body.byteLength);
  frame.set(body, frameHeaderBytes);
  framesByBody.set(body, frame);
  return frame;
}

/** Frames an encoded `{ error }`, which is the last thing that a stream says. */
export function encodeErrorFrame(body: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(2 * frameHeaderBytes + body.byteLength);
  new DataView(frame.buffer).setUint32(frameHeaderBytes, body.byteLength);
  frame.set(body, 2 * frameHeaderBytes);
  return frame;
}
