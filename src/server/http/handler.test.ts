import { gunzipSync, brotliDecompressSync } from "node:zlib";
import { initTRPC, lazy, TRPCError } from "@trpc/server";
import { describe, expect, test, vi } from "vitest";
import { SyncError } from "../../protocol/errors.ts";
import { decodePullAnswer, encodePullAnswer } from "../../protocol/page-codec.ts";
import { codeOf, decoded, get, post } from "../../testing/http-calls.ts";
import {
  handshakeAnswer,
  handshakeRequest,
  largePage,
  page,
  pullRequest,
  pushAnswer,
  pushRequest,
} from "../../testing/sample-messages.ts";
import { scriptedRouter, type ScriptedService } from "../../testing/scripted-service.ts";
import { createSyncHandler } from "./handler.ts";
import type { RequestLine } from "./request-log.ts";

const createContext = ({ req }: { req: Request }): { user?: string } => {
  const user = req.headers.get("authorization")?.slice("Bearer ".length);
  return user === undefined ? {} : { user };
};

function handlerOver(script: Partial<ScriptedService> = {}, options: { needsUser?: boolean } = {}) {
  const onError = vi.fn();
  const handler = createSyncHandler({
    router: scriptedRouter(script, options),
    procedures: "sync",
    createContext,
    onError,
  });
  return { handler, onError };
}

describe("endpoints", () => {
  test("a handshake, a pull and a push are answered in CBOR", async () => {
    const { handler } = handlerOver();
    expect(await decoded(await handler(post("/v1/handshake", handshakeRequest)))).toEqual(handshakeAnswer);
    const pulled = await handler(post("/v1/pull", pullRequest));
    expect(pulled.headers.get("content-type")).toBe("application/cbor");
    expect(pulled.headers.get("cache-control")).toBe("no-store");
    expect(decodePullAnswer(new Uint8Array(await pulled.arrayBuffer()))).toEqual(page);
    expect(await decoded(await handler(post("/v1/push", pushRequest)))).toEqual(pushAnswer);
  });

  test("the function carries its methods, for Next.js", async () => {
    const { handler } = handlerOver();
    expect((await handler.GET(get("/health"))).status).toBe(200);
    expect((await handler.POST(post("/v1/pull", pullRequest))).status).toBe(200);
    expect((await handler.OPTIONS(new Request("http://sync.test/health", { method: "OPTIONS" }))).status).toBe(204);
  });

  test("health is JSON, and 503 when the server is not well", async () => {
    const router = scriptedRouter({});
    const well = createSyncHandler({ router, procedures: "sync", createContext });
    expect(await (await well(get("/health"))).json()).toEqual({ ok: true });
    const ill = createSyncHandler({ router, procedures: "sync", createContext, health: async () => false });
    const response = await ill(get("/health"));
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({ ok: false });
  });

  test("version and stats are CBOR, or JSON for whoever asks for that", async () => {
    const { handler } = handlerOver();
    expect(await decoded(await handler(get("/v1/version")))).toEqual({ protocol: 1, minimumProtocol: 1 });
    expect(await (await handler(get("/v1/version", { accept: "application/json" }))).json()).toEqual({
      protocol: 1,
      minimumProtocol: 1,
    });
    expect(await decoded(await handler(get("/v1/stats")))).toEqual({ devices: 2, entries: 10 });
    expect(await (await handler(get("/v1/stats", { accept: "application/json" }))).json()).toEqual({
      devices: 2,
      entries: "10",
    });
  });

  test("HEAD is GET without a body", async () => {
    const { handler } = handlerOver();
    const response = await handler(new Request("http://sync.test/health", { method: "HEAD" }));
    expect(response.status).toBe(200);
    expect(await response.text()).toBe("");
  });

  test("an endpoint is found by the end of the path, wherever the handler is mounted", async () => {
    const { handler } = handlerOver();
    for (const path of ["/health", "/a/b/c/health", "/health/", "//health", "/a/../health", "/health?x=/v1/pull"]) {
      expect((await handler(new Request(`http://sync.test${path}`))).status, path).toBe(200);
    }
  });

  test("a path that only resembles an endpoint is 404", async () => {
    const { handler } = handlerOver();
    const paths = [
      "/",
      "/healthy",
      "/unhealth",
      "/HEALTH",
      "/health//",
      "/health/x",
      "/health%00",
      "/%68ealth",
      "/v1%2Fversion",
      "/v1/version;x",
      "/x?/health",
      "/v2/pull",
      "/v1/",
      "/v1/__proto__",
      "/constructor",
      "/metrics",
      "/v1/pull/../../x",
    ];
    for (const path of paths) {
      const response = await handler(new Request(`http://sync.test${path}`));
      expect(response.status, path).toBe(404);
      expect(await codeOf(response), path).toBe("INVALID_MESSAGE");
    }
  });

  test("a wrong method is 405, and `Allow` says which are right", async () => {
    const { handler } = handlerOver();
    const wrong = [
      ["GET", "/v1/pull", "POST, OPTIONS"],
      ["POST", "/v1/stats", "GET, OPTIONS"],
      ["DELETE", "/v1/push", "POST, OPTIONS"],
      ["PUT", "/v1/stream", "GET, POST, OPTIONS"],
      ["HEAD", "/v1/stream", "GET, POST, OPTIONS"],
      ["POST", "/health", "GET, HEAD, OPTIONS"],
    ] as const;
    for (const [method, path, allow] of wrong) {
      const response = await handler(new Request(`http://sync.test${path}`, { method }));
      expect([response.status, response.headers.get("allow")], `${method} ${path}`).toEqual([405, allow]);
    }
  });

  test("a router without the procedures is refused when the handler is made", () => {
    const router = scriptedRouter({});
    expect(() => createSyncHandler({ router, procedures: "snyc", createContext })).toThrow(/no procedure `snyc\.pull`/);
  });

  test("a router whose procedures need a context needs a `createContext`", () => {
    const t = initTRPC.context<{ readonly user: string }>().create();
    const router = t.router({ pull: t.procedure.mutation(({ ctx }) => ctx.user) });
    createSyncHandler({ router, procedures: "", createContext: async () => ({ user: "ann" }) });
    // @ts-expect-error A context without the user.
    createSyncHandler({ router, procedures: "", createContext: () => ({}) });
    // @ts-expect-error No context at all.
    createSyncHandler({ router, procedures: "" });
  });

  test("the procedures may be anywhere in the router, its root and lazy parts included", async () => {
    const t = initTRPC.create();
    const pull = t.procedure.mutation(() => page);
    const root = createSyncHandler({ router: t.router({ pull }), procedures: "" });
    expect((await root(post("/v1/pull", pullRequest))).status).toBe(200);
    const deep = createSyncHandler({ router: t.router({ a: { b: { pull } } }), procedures: "a.b" });
    expect((await deep(post("/v1/pull", pullRequest))).status).toBe(200);
    const later = createSyncHandler({
      router: t.router({ later: lazy(async () => t.router({ pull })) }),
      procedures: "later",
    });
    expect((await later(post("/v1/pull", pullRequest))).status).toBe(200);
  });
});

describe("context", () => {
  test("the procedures get the app's context and run behind its middlewares", async () => {
    const { handler } = handlerOver({}, { needsUser: true });
    const refused = await handler(post("/v1/pull", pullRequest));
    expect(refused.status).toBe(401);
    expect(refused.headers.get("www-authenticate")).toBe("Bearer");
    expect(await decoded(refused)).toEqual({ error: { code: "UNAUTHORIZED", message: "Sign in." } });
    expect((await handler(post("/v1/pull", pullRequest, { authorization: "Bearer ann" }))).status).toBe(200);
  });

  test("nobody's body is read before the middlewares let its sender through", async () => {
    const { handler } = handlerOver({}, { needsUser: true });
    const request = post("/v1/pull", pullRequest);
    expect((await handler(request)).status).toBe(401);
    expect(request.bodyUsed).toBe(false);
  });

  test("`createContext` gets what tRPC's fetch adapter gives, and its headers go out with every answer", async () => {
    const handler = createSyncHandler({
      router: scriptedRouter({}),
      procedures: "sync",
      createContext({ req, resHeaders, info }) {
        resHeaders.append("set-cookie", "a=1");
        resHeaders.append("set-cookie", "b=2");
        resHeaders.set("x-seen", `${new URL(req.url).pathname} ${info.type} ${info.calls[0]?.path ?? ""}`);
        return {};
      },
    });
    const response = await handler(post("/v1/push", { wrong: true }));
    expect(response.status).toBe(400);
    expect(response.headers.get("x-seen")).toBe("/api/sync/v1/push mutation sync.push");
    expect(response.headers.getSetCookie()).toEqual(["a=1", "b=2"]);
  });
});

describe("errors", () => {
  test("a SyncError of a procedure arrives with its code, message, details and status", async () => {
    const { handler, onError } = handlerOver({
      pull() {
        throw new SyncError({ code: "SCHEMA_MISMATCH", message: "Too old.", details: { tooOld: "device" } });
      },
    });
    const response = await handler(post("/v1/pull", pullRequest));
    expect(response.status).toBe(412);
    expect(await decoded(response)).toEqual({
      error: { code: "SCHEMA_MISMATCH", message: "Too old.", details: { tooOld: "device" } },
    });
    expect(onError).not.toHaveBeenCalled();
  });

  test("a TRPCError of the app keeps its status and message", async () => {
    const { handler } = handlerOver({
      pull() {
        throw new TRPCError({ code: "PAYMENT_REQUIRED", message: "Pay first." });
      },
    });
    const response = await handler(post("/v1/pull", pullRequest));
    expect(response.status).toBe(402);
    expect(await decoded(response)).toEqual({ error: { code: "FORBIDDEN", message: "Pay first." } });
  });

  test("what failed inside the server is hidden from callers and told to `onError`", async () => {
    const failure = new Error("SQLITE_ERROR: secret");
    const { handler, onError } = handlerOver({
      pull() {
        throw failure;
      },
    });
    const response = await handler(post("/v1/pull", pullRequest));
    expect(response.status).toBe(500);
    expect(await decoded(response)).toEqual({ error: { code: "UNAVAILABLE", message: "The server failed." } });
    expect(onError).toHaveBeenCalledTimes(1);
    expect(onError.mock.calls[0]?.[0].error.cause).toBe(failure);
    expect(onError.mock.calls[0]?.[0].endpoint).toBe("pull");
  });

  test("a SyncError about the server's own set-up or storage is hidden as well", async () => {
    for (const code of ["INVALID_CONFIG", "NOT_INSTALLED", "STORAGE_FAILED", "CLOSED"] as const) {
      const { handler } = handlerOver({
        pull() {
          throw new SyncError({ code, message: "Table `secret`." });
        },
      });
      const response = await handler(post("/v1/pull", pullRequest));
      expect([response.status, await decoded(response)], code).toEqual([
        500,
        { error: { code: "UNAVAILABLE", message: "The server failed." } },
      ]);
    }
  });

  test("a server that cannot answer for a reason says so, and tells `onError` the reason", async () => {
    const cause = new Error("SQLITE_BUSY");
    const { handler, onError } = handlerOver({
      pull() {
        throw new SyncError({ code: "UNAVAILABLE", message: "Try again.", cause });
      },
    });
    const response = await handler(post("/v1/pull", pullRequest));
    expect([response.status, await decoded(response)]).toEqual([
      503,
      { error: { code: "UNAVAILABLE", message: "Try again." } },
    ]);
    expect(onError).toHaveBeenCalledTimes(1);
  });

  test("an error that merely has a SyncError as its cause is hidden", async () => {
    const { handler } = handlerOver({
      pull() {
        throw new Error("secret", { cause: new SyncError({ code: "FORBIDDEN", message: "secret" }) });
      },
    });
    expect((await handler(post("/v1/pull", pullRequest))).status).toBe(500);
  });

  test("a message that is not what the protocol says is 400 and names the place, not the value", async () => {
    const { handler } = handlerOver();
    const response = await handler(post("/v1/pull", { ...pullRequest, limit: "secret" }));
    expect(response.status).toBe(400);
    const { error } = (await decoded(response)) as { error: { code: string; message: string } };
    expect(error.code).toBe("INVALID_MESSAGE");
    expect(error.message).toContain("limit");
    expect(error.message).not.toContain("secret");
  });

  test("only the live endpoint may ask for frames", async () => {
    const { handler } = handlerOver();
    expect((await handler(post("/v1/pull", { ...pullRequest, frames: true }))).status).toBe(400);
  });
});

describe("compression", () => {
  const large = largePage(500);

  test("an answer is compressed under our own header, as the caller prefers", async () => {
    const { handler } = handlerOver({ pull: () => large });
    const plain = await handler(post("/v1/pull", pullRequest));
    expect(plain.headers.get("x-sync-encoding")).toBeNull();
    const bytes = new Uint8Array(await plain.arrayBuffer());
    const zipped = await handler(post("/v1/pull", pullRequest, { "x-sync-accept-encoding": "zstd, gzip, br" }));
    expect(zipped.headers.get("x-sync-encoding")).toBe("gzip");
    expect(zipped.headers.get("content-encoding")).toBeNull();
    expect(new Uint8Array(gunzipSync(await zipped.arrayBuffer()))).toEqual(bytes);
    const brotli = await handler(post("/v1/pull", pullRequest, { "x-sync-accept-encoding": "br, gzip" }));
    expect(brotli.headers.get("x-sync-encoding")).toBe("br");
    const compressed = await brotli.arrayBuffer();
    expect(compressed.byteLength).toBeLessThan(bytes.byteLength);
    expect(new Uint8Array(brotliDecompressSync(compressed))).toEqual(bytes);
  });

  test("a small answer is not compressed", async () => {
    const { handler } = handlerOver();
    const response = await handler(post("/v1/push", pushRequest, { "x-sync-accept-encoding": "gzip" }));
    expect(response.headers.get("x-sync-encoding")).toBeNull();
  });

  test("what `pull` gives is what the page codec encodes", async () => {
    const { handler } = handlerOver({ pull: () => large });
    const response = await handler(post("/v1/pull", pullRequest));
    expect(new Uint8Array(await response.arrayBuffer())).toEqual(new Uint8Array(encodePullAnswer(large)));
  });
});

describe("logging", () => {
  test("each request is one line, with no subject in it", async () => {
    const lines: [string, RequestLine, string][] = [];
    const logger = {
      info: (fields: RequestLine, message: string) => void lines.push(["info", fields, message]),
      warn: (fields: RequestLine, message: string) => void lines.push(["warn", fields, message]),
      error: (fields: RequestLine, message: string) => void lines.push(["error", fields, message]),
    };
    const router = scriptedRouter({
      push() {
        throw new Error("secret");
      },
    });
    const handler = createSyncHandler({ router, procedures: "sync", createContext, logger, onError: () => {} });
    const authorization = { authorization: "Bearer ann" };
    await handler(post("/v1/handshake", handshakeRequest, authorization));
    await handler(post("/v1/pull", new Uint8Array([0xff]), authorization));
    await handler(post("/v1/push", pushRequest, authorization));
    await handler(new Request("http://sync.test/ann", { method: "PURGE" }));
    expect(lines.map(([level, fields, message]) => [level, message, fields.code])).toEqual([
      ["info", "sync POST handshake 200", undefined],
      ["warn", "sync POST pull 400", "INVALID_MESSAGE"],
      ["error", "sync POST push 500", "UNAVAILABLE"],
      ["warn", "sync other unknown 404", "INVALID_MESSAGE"],
    ]);
    const [, first] = lines[0] ?? [];
    expect(first?.bytesIn).toBeGreaterThan(50);
    expect(first?.bytesOut).toBeGreaterThan(50);
    expect(JSON.stringify(lines)).not.toMatch(/ann|secret/);
  });
});
