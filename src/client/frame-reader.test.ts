import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeErrorFrame, encodeFrame } from "../protocol/http.ts";
import { readFrames, type RawFrame } from "./frame-reader.ts";
import { streamSource } from "./http-sender.ts";

const never = new AbortController().signal;

function streamOf(chunks: readonly Uint8Array[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
}

async function read(chunks: readonly Uint8Array[], maxFrameBytes = 1000): Promise<RawFrame[]> {
  const frames: RawFrame[] = [];
  for await (const frame of readFrames(streamSource(streamOf(chunks)), {
    maxFrameBytes,
    onChunk: () => {},
    signal: never,
  }))
    frames.push(frame);
  return frames;
}

describe("frames", () => {
  test("come out as they went in, however the network cuts them", async () => {
    const cuts = fc.array(fc.nat(40), { maxLength: 12 });
    const bodies = fc.array(fc.uint8Array({ minLength: 1, maxLength: 20 }), { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(bodies, cuts, fc.boolean(), async (bodies, cuts, failsAtEnd) => {
        const bytes = [
          ...bodies.map((body) => [...encodeFrame(body)]),
          failsAtEnd ? [...encodeErrorFrame(new Uint8Array([9]))] : [],
        ].flat();
        const chunks: Uint8Array[] = [];
        for (const cut of cuts) chunks.push(new Uint8Array(bytes.splice(0, cut)));
        chunks.push(new Uint8Array(bytes));
        const frames = (await read(chunks)).map(({ bytes, isError }) => ({ bytes: [...bytes], isError }));
        const expected = bodies.map((body) => ({ bytes: [...body], isError: false }));
        expect(frames).toEqual(failsAtEnd ? [...expected, { bytes: [9], isError: true }] : expected);
      }),
      { numRuns: 300 },
    );
  });

  test("that break off in the middle are OFFLINE", async () => {
    const frame = encodeFrame(new Uint8Array(10));
    for (const length of [1, 3, 4, 13]) {
      await expect(read([frame.subarray(0, length)]), `${length} bytes`).rejects.toMatchObject({ code: "OFFLINE" });
    }
  });

  test("that say they are too long are refused before they come", async () => {
    const stream = streamOf([new Uint8Array([0xff, 0xff, 0xff, 0xff, 1])]);
    const reading = readFrames(streamSource(stream), { maxFrameBytes: 1000, onChunk: () => {}, signal: never }).next();
    await expect(reading).rejects.toMatchObject({ code: "TOO_LARGE", details: { limit: 1000 } });
  });

  test("a frame in many small chunks costs no more than its length", async () => {
    const frame = encodeFrame(new Uint8Array(2_000_000).fill(1));
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < frame.length; at += 100) chunks.push(frame.subarray(at, at + 100));
    const started = performance.now();
    expect((await read(chunks, 3_000_000))[0]?.bytes.length).toBe(2_000_000);
    expect(performance.now() - started).toBeLessThan(2000);
  });

  test("a reader that stops reading cancels the stream", async () => {
    let isCancelled = false;
    const stream = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(encodeFrame(new Uint8Array([1]))),
      cancel() {
        isCancelled = true;
      },
    });
    for await (const _ of readFrames(streamSource(stream), { maxFrameBytes: 10, onChunk: () => {}, signal: never }))
      break;
    expect(isCancelled).toBe(true);
  });
});
