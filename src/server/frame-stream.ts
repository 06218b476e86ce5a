/**
 * Frames on their way to a caller. A server that writes to sockets takes them as they come, without a promise between two of
 * them; whoever wants them one by one, as tRPC does, iterates. Both ask before they are given: a stream that nobody asks
 * computes nothing.
 *
 * @module
 */

/** Takes the frames that it asks for. Its functions do not throw. */
export interface FrameTaker<TFrame> {
  /** Takes a frame; answers whether it asks for another one with that. */
  readonly take: (frame: TFrame) => boolean;
  /** No frame follows; with the error that ended the stream, if one did. Heard once more, it means nothing. */
  readonly over: (error?: unknown) => void;
}

/** The other end: where frames are asked for. */
export interface FrameFlow {
  /** Asks for one frame. The next is asked for when it was taken. */
  readonly ask: () => void;
  /** Ends the stream; the taker hears that it is over. */
  readonly stop: () => void;
}

/** Connects a taker. Nothing happens before it asks. */
export type StartFlow<TFrame> = (taker: FrameTaker<TFrame>) => FrameFlow;

/** Where a {@link FrameStream} keeps its flow. */
export const startFlow: unique symbol = Symbol("startFlow");

/** A stream of frames, to be iterated or taken from; either, and once. */
export interface FrameStream<TFrame> extends AsyncIterableIterator<TFrame, undefined> {
  readonly [startFlow]: StartFlow<TFrame>;
}

/** Makes a stream of a flow. */
export function frameStream<TFrame>(start: StartFlow<TFrame>): FrameStream<TFrame> {
  const readers: Reader<TFrame>[] = [];
  let isOver = false;
  let flow: FrameFlow | undefined;
  const taker: FrameTaker<TFrame> = {
    take(frame) {
      readers.shift()?.resolve({ done: false, value: frame });
      // A reader that asks again before it was answered is answered in order.
      return readers.length > 0;
    },
    over(error) {
      isOver = true;
      const [first, ...others] = readers.splice(0);
      if (error === undefined) first?.resolve(over);
      else first?.reject(error);
      for (const other of others) other.resolve(over);
    },
  };
  const stop = (): void => {
    isOver = true;
    flow?.stop();
  };
  return {
    [startFlow]: start,
    next() {
      if (isOver) return Promise.resolve(over);
      return new Promise((resolve, reject) => {
        readers.push({ resolve, reject });
        flow ??= start(taker);
        if (readers.length === 1) flow.ask();
      });
    },
    async return() {
      stop();
      return over;
    },
    async throw(error) {
      stop();
      throw error;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

/** The same stream with other frames, and other errors. A frame that `map` throws at ends it. */
export function mapFrames<TFrom, TTo>(
  stream: FrameStream<TFrom>,
  map: (frame: TFrom) => TTo,
  mapError: (error: unknown) => unknown,
): FrameStream<TTo> {
  return frameStream((taker) => {
    const over = (error?: unknown): void => taker.over(error === undefined ? undefined : mapError(error));
    const flow = stream[startFlow]({
      take(frame) {
        let mapped: TTo;
        try {
          mapped = map(frame);
        } catch (error) {
          over(error);
          flow.stop();
          return false;
        }
        return taker.take(mapped);
      },
      over,
    });
    return flow;
  });
}

/** A flow of anything that can be iterated. */
export function flowOf<TFrame>(source: AsyncIterable<TFrame>): StartFlow<TFrame> {
  return (taker) => {
    const iterator = source[Symbol.asyncIterator]();
    const ask = (): void => {
      iterator.next().then(({ done, value }) => {
        if (done === true) taker.over();
        else if (taker.take(value)) ask();
      }, taker.over);
    };
    return {
      ask,
      stop() {
        // It may wait in the middle of a step; it was told to stop and finishes by itself.
        iterator.return?.().then(() => taker.over(), taker.over);
      },
    };
  };
}

interface Reader<TFrame> {
  readonly resolve: (result: IteratorResult<TFrame, undefined>) => void;
  readonly reject: (error: unknown) => void;
}

const over: IteratorResult<never, undefined> = { done: true, value: undefined };
