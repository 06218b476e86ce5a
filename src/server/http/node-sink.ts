/**
 * Where the bytes of a stream go on Node.
 *
 * Mostly into the socket itself. Frames end where they say they do, so HTTP adds nothing between them, and what Node's `http`
 * does for each write (chunks, corks, ticks) costs as much as the rest of a delivery. Where the response is not alone on its
 * socket, or somebody else listens to what is written to it, it goes through the response.
 *
 * @module
 */

import { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { ByteSink } from "./stream.ts";

/** A sink that hears when its caller has taken what was written. */
export interface NodeSink extends ByteSink {
  readonly onDrain: (more: () => void) => void;
}

/** Makes the sink of a response whose head was sent. */
export function nodeSink(
  outgoing: ServerResponse,
  {
    isFramed,
    ...how
  }: { readonly isFramed: boolean; readonly end: () => void; readonly break: (error: Error) => void },
): NodeSink {
  const { socket } = outgoing;
  const isOwn = outgoing.req.httpVersionMajor === 1 && outgoing.write === ServerResponse.prototype.write;
  return isFramed && isOwn && socket !== null ? socketSink(socket, how) : responseSink(outgoing, how);
}

type Ends = Pick<ByteSink, "end" | "break">;

function responseSink(outgoing: ServerResponse, ends: Ends): NodeSink {
  let hasRoom = true;
  return {
    ...ends,
    write: (chunk) => (hasRoom = outgoing.write(chunk)),
    hasRoom: () => hasRoom,
    onDrain(more) {
      outgoing.on("drain", () => {
        hasRoom = true;
        more();
      });
    },
  };
}

function socketSink(socket: Socket, ends: Ends): NodeSink {
  let hasRoom = true;
  let more = (): void => undefined;
  const settle = (isTaken: boolean): void => {
    const wasFull = !hasRoom;
    hasRoom = isTaken;
    if (isTaken && wasFull) more();
  };
  return {
    break: ends.break,
    write(chunk) {
      // As far as can be told before it is written.
      hasRoom = socket.writableLength + chunk.byteLength < socket.writableHighWaterMark;
      writeSoon(socket, chunk, settle);
      return hasRoom;
    },
    hasRoom: () => hasRoom,
    end() {
      flush();
      ends.end();
    },
    onDrain(callback) {
      more = callback;
      socket.on("drain", () => settle(true));
    },
  };
}

let sockets: Socket[] = [];
let chunks: Uint8Array[] = [];
let settlers: ((isTaken: boolean) => void)[] = [];

/**
 * Writes as soon as all streams that have news were given them: in one go, since a receiver that falls asleep between two
 * writes has to be woken for each. Not at the end of the tick, which may have long work left.
 */
function writeSoon(socket: Socket, chunk: Uint8Array, settle: (isTaken: boolean) => void): void {
  chunks.push(chunk);
  settlers.push(settle);
  if (sockets.push(socket) === 1) queueMicrotask(flush);
}

function flush(): void {
  const [to, what, settle] = [sockets, chunks, settlers];
  sockets = [];
  chunks = [];
  settlers = [];
  to.forEach((socket, i) => {
    if (!socket.destroyed) settle[i]?.(socket.write(what[i] as Uint8Array));
  });
}
