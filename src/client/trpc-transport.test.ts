import {
  createTRPCClient,
  httpBatchLink,
  httpLink,
  httpSubscriptionLink,
  splitLink,
  TRPCClientError,
} from "@trpc/client";
import { fetchRequestHandler } from "@trpc/server/adapters/fetch";
import superjson from "superjson";
import { describe, expect, test } from "vitest";
import { SyncError } from "../protocol/errors.ts";
import { toNodeListener } from "../server/http/node-listener.ts";
import { FetchEventSource } from "../testing/fetch-event-source.ts";
import { listen } from "../testing/http-calls.ts";
import { pullRequest, pushAnswer, pushRequest } from "../testing/sample-messages.ts";
import { scriptedRouter, type ScriptedRouter, type ScriptedService } from "../testing/scripted-service.ts";
import { startThreadServer } from "../testing/thread-server.ts";
import { transportConformance, type OpenConnection } from "../testing/transport-conformance.ts";
import { trpcTransport, type TrpcSubscriptionHandlers, type TrpcSyncClient } from "./trpc-transport.ts";

const never = new AbortController().signal;

/** The app's own tRPC server and client, as people have them. */
function overTrpc(transformer: typeof superjson | undefined): OpenConnection {
  const option = transformer === undefined ? {} : { transformer };
  return async (script: Partial<ScriptedService>) => {
    const router = scriptedRouter(script, option);
    const { url, close } = await listen(
      toNodeListener((req) => fetchRequestHandler({ endpoint: "/trpc", req, router, createContext: () => ({}) })),
    );
    // The types of the links ask for a transformer exactly where the router's type has one.
    const links = { url: `${url}/trpc`, ...option } as { url: string };
    const client = createTRPCClient<ScriptedRouter>({
      links: [
        splitLink({
          condition: (operation) => operation.type === "subscription",
          true: httpSubscriptionLink({ ...links, EventSource: FetchEventSource as never }),
          false: httpBatchLink(links),
        }),
      ],
    });
    return { transport: trpcTransport(client.sync), cut: close, close };
  };
}

describe.each([
  ["with superjson", overTrpc(superjson)],
  ["without a transformer", overTrpc(undefined)],
])("trpcTransport %s", (_name, open) => {
  test.for(transportConformance)("$name", ({ run }) => run(open));
});

test.each([
  ["one by one", httpLink],
  ["gathered", httpBatchLink],
])("a flushed call reaches the server while the thread is held, calls being sent %s", async (_name, link) => {
  await using server = await startThreadServer();
  const { sync } = createTRPCClient<ScriptedRouter>({ links: [link({ url: server.url })] });
  const transport = trpcTransport(sync);
  // The server's answers are none; the call before has opened the connection.
  const pull = () => transport.pull(pullRequest, { signal: never }).catch((error: unknown) => error);
  await pull();
  expect(server.holdUntilAsked()).toBe(true);
  const pulled = pull();
  await transport.flush?.();
  expect(server.holdUntilAsked()).toBe(true);
  expect(await pulled).toBeInstanceOf(SyncError);
});

/** A client of which a test writes what it is about. */
function clientWith(parts: Partial<TrpcSyncClient>): TrpcSyncClient {
  const mutate = (): Promise<unknown> => Promise.resolve(pushAnswer);
  return { handshake: { mutate }, pull: { mutate }, push: { mutate }, ...parts };
}

describe("errors of a tRPC client", () => {
  const thrownBy = async (thrown: unknown): Promise<unknown> => {
    const transport = trpcTransport(clientWith({ push: { mutate: () => Promise.reject(thrown) } }));
    return transport.push(pushRequest, { signal: never }).catch((error: unknown) => error);
  };
  const answered = (code: string, httpStatus: number, more: object = {}): unknown =>
    TRPCClientError.from({
      error: { code: -32000, message: "Said so.", data: { code, httpStatus, ...more } },
    } as never);

  test("are told by tRPC's code", async () => {
    const codes = {
      PAYLOAD_TOO_LARGE: "TOO_LARGE",
      TOO_MANY_REQUESTS: "RATE_LIMITED",
      GATEWAY_TIMEOUT: "TIMEOUT",
      BAD_GATEWAY: "UNAVAILABLE",
      INTERNAL_SERVER_ERROR: "UNAVAILABLE",
    };
    for (const [trpc, code] of Object.entries(codes))
      expect(await thrownBy(answered(trpc, 400)), trpc).toMatchObject({ code, message: "Said so." });
  });

  test("V3: of the server's own keep their code and details", async () => {
    const { transport, close } = await overTrpc(superjson)({
      push() {
        throw new SyncError({ code: "SCHEMA_MISMATCH", message: "Too old.", details: { tooOld: "server" } });
      },
    });
    const thrown = await transport.push(pushRequest, { signal: never }).catch((error: unknown) => error);
    expect(thrown).toMatchObject({ code: "SCHEMA_MISMATCH", message: "Too old.", details: { tooOld: "server" } });
    await close();
  });

  test("are OFFLINE when no answer came, and told by the status when it was not tRPC's", async () => {
    expect(await thrownBy(TRPCClientError.from(new TypeError("fetch failed")))).toMatchObject({ code: "OFFLINE" });
    for (const [status, code] of [
      [502, "UNAVAILABLE"],
      [401, "UNAUTHORIZED"],
      [413, "TOO_LARGE"],
    ] as const) {
      const error = TRPCClientError.from(new SyntaxError("Unexpected token <"), { meta: { response: { status } } });
      expect(await thrownBy(error)).toMatchObject({ code });
    }
  });

  test("an answer of the wrong form is INVALID_MESSAGE", async () => {
    const transport = trpcTransport(clientWith({ push: { mutate: () => Promise.resolve({ kind: "ok" }) } }));
    await expect(transport.push(pushRequest, { signal: never })).rejects.toMatchObject({ code: "INVALID_MESSAGE" });
  });
});

describe("live over a subscription", () => {
  /** A subscription whose handlers the test calls. */
  function scripted() {
    const state: { handlers?: TrpcSubscriptionHandlers; input?: unknown; unsubscribed: boolean } = {
      unsubscribed: false,
    };
    const live = {
      subscribe(input: unknown, handlers: TrpcSubscriptionHandlers) {
        Object.assign(state, { handlers, input });
        return { unsubscribe: () => void (state.unsubscribed = true) };
      },
    };
    const transport = trpcTransport(clientWith({ live }));
    const stream = (transport.live?.(pullRequest, { signal: never }) ?? expect.fail())[Symbol.asyncIterator]();
    return { state, stream, transport };
  }

  test("is absent where the client has none: the engine polls", () => {
    const transport = trpcTransport(clientWith({}));
    expect(transport).not.toHaveProperty("live");
    expect(transport.liveKind).toBeUndefined();
  });

  test("asks for no more than fits into an address", async () => {
    const { state, stream } = scripted();
    const first = stream.next();
    const { round: _, ...rest } = pullRequest;
    expect(state.input).toEqual({ ...rest, held: expect.stringMatching(/^[0-9a-f]{16}$/), format: "json" });
    state.handlers?.onComplete();
    expect((await first).done).toBe(true);
    expect(state.unsubscribed).toBe(true);
  });

  test("pokes that nobody took yet are one poke", async () => {
    const { state, stream } = scripted();
    const first = stream.next();
    for (const value of [{ id: "1", data: { kind: "poke" } }, { kind: "poke" }, { id: "3", data: { later: true } }])
      state.handlers?.onData(value);
    expect((await first).value).toEqual({ kind: "poke" });
    state.handlers?.onData({ id: "4", data: { kind: "end", reason: "auth" } });
    state.handlers?.onStopped();
    expect((await stream.next()).value).toEqual({ kind: "end", reason: "auth" });
    expect((await stream.next()).done).toBe(true);
  });

  test("a connection that tRPC would mend by itself is OFFLINE: the engine pulls before it listens again", async () => {
    const { state, stream } = scripted();
    const first = stream.next();
    state.handlers?.onConnectionStateChange({ state: "connecting", error: null });
    state.handlers?.onConnectionStateChange({ state: "pending", error: null });
    state.handlers?.onConnectionStateChange({ state: "connecting", error: new Error("lost") });
    await expect(first).rejects.toMatchObject({ code: "OFFLINE" });
    expect(state.unsubscribed).toBe(true);
  });
});
