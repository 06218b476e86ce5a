/**
 * A network between one device and its server that fails as told: it loses requests and answers, delivers twice or much
 * later, holds answers back, cuts streams. It wraps any {@link Transport}, and keeps the transport's promises to the
 * engine: a call answers or throws a `SyncError`.
 *
 * @module
 */

import type { CallOptions, Transport } from "../client/transport.ts";
import { SyncError } from "../protocol/errors.ts";
import type { LiveFrame } from "../protocol/live.ts";
import type { PullRequest } from "../protocol/pull.ts";

/**
 * What happens to the next call. `lose-request`: the server never sees it. `lose-answer`: the server does. `repeat`: the
 * server sees it twice. `late`: the device gives up, and the server sees it when {@link FaultNetwork.deliverLate} says.
 * `hold-request`, `hold-answer`: it waits until {@link FaultNetwork.release}.
 */
export const faults = ["lose-request", "lose-answer", "repeat", "late", "hold-request", "hold-answer"] as const;
export type Fault = (typeof faults)[number];

/** Which call a fault is for. `round`: a pull that goes on with a round. */
export type Call = "handshake" | "push" | "pull" | "round";

export interface FaultNetwork {
  readonly transport: Transport;
  /** Decides the fate of the next call, or of the next one of a kind; several are used up in order. */
  fail(fault: Fault, of?: Call): void;
  /** Cuts the cable, and any stream; or mends it. */
  setDown(down: boolean): void;
  /** Breaks the live stream, at once or after so many further frames. */
  cutStream(afterFrames?: number): void;
  /** Delivers the n-th of the requests that everybody has given up; their answers go nowhere. */
  deliverLate(index: number): Promise<void>;
  readonly lateCount: number;
  /** Lets held requests and answers go. */
  release(): void;
  readonly heldCount: number;
  /** Forgets what was planned and held: the device's process is gone. Late requests are on their way all the same. */
  reset(): void;
}

const offline = (what: string): SyncError => new SyncError({ code: "OFFLINE", message: `The network lost ${what}.` });

/** Creates the network. `chance` decides the fate of calls for which nothing was planned. */
export function createFaultNetwork(inner: Transport, chance: () => Fault | undefined = () => undefined): FaultNetwork {
  let planned: { readonly fault: Fault; readonly of: Call | undefined }[] = [];
  let late: (() => Promise<unknown>)[] = [];
  let held: (() => void)[] = [];
  let isDown = false;
  let streamCuts = new Set<() => void>();
  let framesUntilCut: number | undefined;

  const wait = (signal: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      if (signal.aborted) return reject(aborted());
      const release = (): void => {
        signal.removeEventListener("abort", abort);
        resolve();
      };
      const abort = (): void => {
        held = held.filter((other) => other !== release);
        reject(aborted());
      };
      signal.addEventListener("abort", abort, { once: true });
      held.push(release);
    });

  const nextFault = (what: Call): Fault | undefined => {
    const index = planned.findIndex(({ of }) => of === undefined || of === what || (of === "pull" && what === "round"));
    return index < 0 ? chance() : planned.splice(index, 1)[0]?.fault;
  };

  async function call<T>(what: Call, signal: AbortSignal, send: (signal: AbortSignal) => Promise<T>): Promise<T> {
    // An answer never comes in the same tick as its request.
    await Promise.resolve();
    if (signal.aborted) throw aborted();
    if (isDown) throw offline(`the ${what}`);
    const fault = nextFault(what);
    switch (fault) {
      case undefined:
        return send(signal);
      case "lose-request":
        throw offline(`the ${what}`);
      case "lose-answer":
        await send(signal);
        throw offline(`the answer to the ${what}`);
      case "repeat":
        await send(signal);
        return send(signal);
      case "late":
        late.push(() => send(new AbortController().signal));
        throw new SyncError({ code: "TIMEOUT", message: `The ${what} took too long.` });
      case "hold-request":
        await wait(signal);
        return send(signal);
      case "hold-answer": {
        const answer = await send(signal);
        await wait(signal);
        return answer;
      }
    }
  }

  async function* live(request: PullRequest, options: CallOptions): AsyncGenerator<LiveFrame> {
    if (inner.live === undefined) throw new Error("The transport has no live stream.");
    await Promise.resolve();
    if (isDown) throw offline("the stream");
    const broken = new AbortController();
    const cut = (): void => broken.abort();
    const frames = inner.live(request, {
      signal: AbortSignal.any([options.signal, broken.signal]),
    });
    const iterator = frames[Symbol.asyncIterator]();
    const isBroken = new Promise<never>((_, reject) => {
      broken.signal.addEventListener("abort", () => reject(offline("the stream")), { once: true });
    });
    // Nobody may be waiting at the moment of the cut.
    isBroken.catch(() => undefined);
    streamCuts.add(cut);
    try {
      for (;;) {
        const next = await Promise.race([iterator.next(), isBroken]);
        if (next.done === true) return;
        if (broken.signal.aborted) throw offline("the stream");
        yield next.value;
        if (framesUntilCut !== undefined && framesUntilCut-- <= 0) {
          framesUntilCut = undefined;
          cut();
        }
      }
    } finally {
      streamCuts.delete(cut);
      broken.abort();
      await iterator.return?.();
    }
  }

  return {
    transport: {
      handshake: (request, { signal }) =>
        call("handshake", signal, (inside) => inner.handshake(request, { signal: inside })),
      pull: (request, { signal }) =>
        call(request.round === undefined ? "pull" : "round", signal, (inside) =>
          inner.pull(request, { signal: inside }),
        ),
      push: (request, { signal }) => call("push", signal, (inside) => inner.push(request, { signal: inside })),
      ...(inner.live ? { live } : {}),
      ...(inner.liveKind ? { liveKind: inner.liveKind } : {}),
      close: () => inner.close?.(),
    },
    fail: (fault, of) => void planned.push({ fault, of }),
    setDown(down) {
      isDown = down;
      if (down) for (const cut of streamCuts) cut();
    },
    cutStream(afterFrames) {
      if (afterFrames !== undefined) framesUntilCut = afterFrames;
      else for (const cut of streamCuts) cut();
    },
    async deliverLate(index) {
      const [send] = late.splice(index, 1);
      try {
        await send?.();
      } catch (error) {
        // Its sender is long gone; the server's own failures are seen by whoever asks next.
        if (!(error instanceof SyncError)) throw error;
      }
    },
    get lateCount() {
      return late.length;
    },
    release() {
      const waiting = held;
      held = [];
      for (const resume of waiting) resume();
    },
    get heldCount() {
      return held.length;
    },
    reset() {
      planned = [];
      held = [];
      framesUntilCut = undefined;
      streamCuts = new Set();
    },
  };
}

const aborted = (): SyncError => new SyncError({ code: "ABORTED", message: "The call was aborted." });
