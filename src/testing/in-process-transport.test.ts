/** The transports that tests put in the place of a network, run through the suite of those that apps use. */

import { describe, test } from "vitest";
import type { Transport } from "../client/transport.ts";
import type { LiveFrame } from "../protocol/live.ts";
import { flowOf, frameStream } from "../server/frame-stream.ts";
import type { SyncService } from "../server/service.ts";
import { byteTransport } from "./byte-transport.ts";
import { createFaultNetwork } from "./fault-network.ts";
import { inProcessTransport } from "./in-process-transport.ts";
import { handshakeAnswer, page, pushAnswer } from "./sample-messages.ts";
import type { ScriptedService } from "./scripted-service.ts";
import { transportConformance } from "./transport-conformance.ts";

/** What a transport without a network is not asked, and why. */
const excused: Readonly<Record<string, string>> = {
  "a failure inside the server is UNAVAILABLE": "a bug of the server must reach the test as it was thrown",
  "an aborted call throws ABORTED, and nothing is sent when it was aborted before":
    "the server cannot be left alone with a call: its answer is waited for, then thrown away",
  "an aborted stream throws ABORTED, and stops on the server": "an aborted stream just ends",
};

/** A server of a script, as the one in process is called. */
function serviceOf(script: Partial<ScriptedService>): SyncService {
  const unused = (): never => {
    throw new Error("No test asks for this.");
  };
  return {
    handshake: async (_caller, request) => (await script.handshake?.(request)) ?? handshakeAnswer,
    pull: async (_caller, request) => (await script.pull?.(request, undefined)) ?? page,
    push: async (_caller, request) => (await script.push?.(request)) ?? pushAnswer,
    stream: (_caller, request, { signal }) => frameStream(flowOf(streamed(script.live?.(request, signal) ?? []))),
    stats: unused,
    close: () => {},
  };
}

async function* streamed(frames: AsyncIterable<LiveFrame | Uint8Array> | readonly LiveFrame[]) {
  for await (const frame of frames) {
    if (frame instanceof Uint8Array) throw new Error("In process, frames are no bytes.");
    yield { frame };
  }
}

const transports: Readonly<Record<string, (inner: Transport) => Transport>> = {
  "in process, as bytes": byteTransport,
  "a network on which nothing is planned to fail": (inner) => createFaultNetwork(byteTransport(inner)).transport,
};

describe.each(Object.entries(transports))("%s", (_name, wrap) => {
  for (const { name, run } of transportConformance) {
    if (Object.hasOwn(excused, name)) continue;
    test(name, () =>
      run(async (script) => {
        const service = serviceOf(script);
        const caller = {
          subject: "ann",
          scopes: () => Promise.resolve({ read: new Set<string>(), write: new Set<string>() }),
        };
        return {
          transport: wrap(inProcessTransport({ service: () => service, caller: () => caller, live: "pages" })),
          close: async () => service.close(),
        };
      }),
    );
  }
});

test("what is excused is a case of the suite", () => {
  const names = new Set(transportConformance.map(({ name }) => name));
  for (const name of Object.keys(excused)) if (!names.has(name)) throw new Error(`There is no case "${name}".`);
});
