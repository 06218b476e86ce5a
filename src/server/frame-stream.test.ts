import { describe, expect, test } from "vitest";
import { type FrameFlow, flowOf, type FrameTaker, frameStream, mapFrames, startFlow } from "./frame-stream.ts";

/** A stream whose other end a test holds. */
function held() {
  const asked = { times: 0, stops: 0 };
  let taker: FrameTaker<number> | undefined;
  const stream = frameStream<number>((started) => {
    taker = started;
    return {
      ask: () => void asked.times++,
      stop() {
        asked.stops++;
        started.over();
      },
    };
  });
  const other = (): FrameTaker<number> => {
    if (taker === undefined) throw new Error("Nobody has asked yet.");
    return taker;
  };
  return { stream, asked, other };
}

/** Takes everything, asking again at once as often as it is told. */
function taking(stream: { readonly [startFlow]: (taker: FrameTaker<unknown>) => FrameFlow }, atOnce = Infinity) {
  const taken: unknown[] = [];
  const flow = stream[startFlow]({
    take: (frame) => taken.push(frame) < atOnce,
    over: (error) => void taken.push(error ?? "over"),
  });
  return { taken, flow };
}

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

describe("frames", () => {
  test("are asked for one by one, and readers that did not wait are answered in order", async () => {
    const { stream, asked, other } = held();
    const [first, second] = [stream.next(), stream.next()];
    expect(asked.times).toBe(1);
    expect(other().take(1)).toBe(true);
    expect(other().take(2)).toBe(false);
    expect([(await first).value, (await second).value]).toEqual([1, 2]);
    const third = stream.next();
    expect(asked.times).toBe(2);
    other().over();
    expect(await third).toEqual({ done: true, value: undefined });
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    expect(asked.times).toBe(2);
  });

  test("an error is for the reader that waits longest; the others hear that it is over", async () => {
    const { stream, other } = held();
    const [first, second] = [stream.next(), stream.next()];
    other().over(new Error("broken"));
    await expect(first).rejects.toThrow("broken");
    expect(await second).toEqual({ done: true, value: undefined });
  });

  test("a reader that leaves stops the stream, and one that never began has nothing to stop", async () => {
    const { stream, asked } = held();
    const waiting = stream.next();
    await stream.return?.();
    expect(await waiting).toEqual({ done: true, value: undefined });
    const unread = held();
    await unread.stream.return?.();
    await expect(unread.stream.throw?.(new Error("mine"))).rejects.toThrow("mine");
    expect([asked.stops, unread.asked.stops]).toEqual([1, 0]);
    expect(await unread.stream.next()).toEqual({ done: true, value: undefined });
  });

  test("can be given other forms, and one that has none ends the stream with its error", async () => {
    const map = (frame: number): string => {
      if (frame === 3) throw new Error("three");
      return `no. ${frame}`;
    };
    const { stream, asked, other } = held();
    const { taken, flow } = taking(mapFrames(stream, map, (error) => `mapped ${String(error)}`));
    flow.ask();
    for (const frame of [1, 2, 3]) other().take(frame);
    expect(taken).toEqual(["no. 1", "no. 2", "mapped Error: three", "over"]);
    expect(asked.stops).toBe(1);
  });

  test("of anything that can be iterated are taken as long as there is room", async () => {
    let pulled = 0;
    let isStopped = false;
    const source = async function* () {
      try {
        for (;;) yield ++pulled;
      } finally {
        isStopped = true;
      }
    };
    const { taken, flow } = taking(frameStream(flowOf(source())), 3);
    flow.ask();
    await turn();
    expect([taken, pulled]).toEqual([[1, 2, 3], 3]);
    flow.ask();
    await turn();
    expect(taken).toEqual([1, 2, 3, 4]);
    flow.stop();
    await turn();
    expect([isStopped, taken.at(-1)]).toEqual([true, "over"]);
  });

  test("an error of what is iterated is the stream's", async () => {
    const source = async function* () {
      yield 1;
      throw new Error("broken");
    };
    const { taken, flow } = taking(frameStream(flowOf(source())));
    flow.ask();
    await turn();
    expect(taken).toEqual([1, new Error("broken")]);
  });
});
