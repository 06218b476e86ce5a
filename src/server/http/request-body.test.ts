import { brotliCompressSync, constants, deflateSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { encodeCbor } from "../../protocol/cbor.ts";
import { codeOf, post } from "../../testing/http-calls.ts";
import { pushRequest } from "../../testing/sample-messages.ts";
import { scriptedRouter } from "../../testing/scripted-service.ts";
import { createSyncHandler } from "./handler.ts";

const limits = { maxRequestBytes: 100_000, bodyTimeoutMs: 50 };
const handler = createSyncHandler({
  router: scriptedRouter({}),
  procedures: "sync",
  createContext: () => ({}),
  limits,
});
const message = encodeCbor(pushRequest);

/** A push whose body is a stream, as a server hands it over. */
function streamed(body: ReadableStream<Uint8Array>, headers: Record<string, string> = {}): Request {
  const init = { method: "POST", body, duplex: "half", headers: { "content-type": "application/cbor", ...headers } };
  return new Request("http://sync.test/v1/push", init);
}

describe("request bodies", () => {
  test("a body may be compressed with gzip, deflate or brotli", async () => {
    for (const [encoding, compress] of [
      ["gzip", gzipSync],
      ["GZip ", gzipSync],
      ["deflate", deflateSync],
      ["br", brotliCompressSync],
      ["identity", (bytes: Uint8Array) => bytes],
    ] as const) {
      const response = await handler(
        post("/v1/push", new Uint8Array(compress(message)), { "content-encoding": encoding }),
      );
      expect(response.status, encoding).toBe(200);
    }
  });

  test("a type other than CBOR is 415, whatever a form can send among them", async () => {
    for (const type of [
      "text/plain",
      "application/json",
      "multipart/form-data; boundary=x",
      "application/x-www-form-urlencoded",
      "application/cbor-seq",
      "",
    ]) {
      const response = await handler(post("/v1/push", message, { "content-type": type }));
      expect([response.status, await codeOf(response)], type).toEqual([415, "INVALID_MESSAGE"]);
    }
    expect((await handler(post("/v1/push", message, { "content-type": "Application/CBOR; charset=x" }))).status).toBe(
      200,
    );
  });

  test("an unknown compression is 415, and the answer says which are known", async () => {
    for (const encoding of ["zstd", "gzip, gzip", "constructor"]) {
      const response = await handler(post("/v1/push", message, { "content-encoding": encoding }));
      expect([response.status, response.headers.get("accept-encoding")], encoding).toEqual([415, "gzip, deflate, br"]);
    }
  });

  test("a body that is not CBOR, is cut, or is missing is 400", async () => {
    const bodies = [
      new Uint8Array(0),
      new Uint8Array([0xff]),
      message.subarray(0, message.length - 3),
      new Uint8Array([0xd8, 86, 0xa0]),
    ];
    for (const [at, body] of bodies.entries()) {
      const response = await handler(post("/v1/push", body));
      expect([response.status, await codeOf(response)], `body ${at}`).toEqual([400, "INVALID_MESSAGE"]);
    }
    const none = await handler(
      new Request("http://sync.test/v1/push", { method: "POST", headers: { "content-type": "application/cbor" } }),
    );
    expect(none.status).toBe(400);
  });

  test("a body that is not what its compression says is 400", async () => {
    for (const encoding of ["gzip", "deflate", "br"]) {
      const response = await handler(post("/v1/push", new Uint8Array([1, 2, 3, 4]), { "content-encoding": encoding }));
      expect([response.status, await codeOf(response)], encoding).toEqual([400, "INVALID_MESSAGE"]);
    }
    const cut = gzipSync(message);
    expect(
      (await handler(post("/v1/push", new Uint8Array(cut.subarray(0, cut.length - 9)), { "content-encoding": "gzip" })))
        .status,
    ).toBe(400);
  });

  test("a body that says it is too large is refused before it is read", async () => {
    const request = post("/v1/push", message, { "content-length": "100001" });
    const response = await handler(request);
    expect([response.status, await codeOf(response)]).toEqual([413, "TOO_LARGE"]);
    expect(request.bodyUsed).toBe(false);
  });

  test("a body that turns out too large is refused as soon as it is", async () => {
    let sent = 0;
    let isCancelled = false;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += 10_000;
        controller.enqueue(new Uint8Array(10_000));
      },
      cancel() {
        isCancelled = true;
      },
    });
    const response = await handler(streamed(endless));
    expect([response.status, await codeOf(response)]).toEqual([413, "TOO_LARGE"]);
    expect(sent).toBeLessThanOrEqual(130_000);
    expect(isCancelled).toBe(true);
  });

  test("a small body that inflates beyond the limit is 413, and is not inflated to its end", async () => {
    const zeros = Buffer.alloc(200_000_000);
    for (const [encoding, bomb] of [
      ["gzip", gzipSync(zeros)],
      ["br", brotliCompressSync(zeros, { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } })],
    ] as const) {
      const before = process.memoryUsage().rss;
      const small = new Uint8Array(bomb);
      const response = await createSyncHandler({
        router: scriptedRouter({}),
        procedures: "sync",
        createContext: () => ({}),
        limits: { maxRequestBytes: 1_000_000 },
      })(post("/v1/push", small, { "content-encoding": encoding }));
      expect([response.status, await codeOf(response)], encoding).toEqual([413, "TOO_LARGE"]);
      expect(process.memoryUsage().rss - before).toBeLessThan(50_000_000);
    }
  });

  test("a body that does not come to its end in time is 408", async () => {
    const slow = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(message.subarray(0, 10));
      },
    });
    const response = await handler(streamed(slow));
    expect([response.status, await codeOf(response)]).toEqual([408, "TIMEOUT"]);
  });

  test("a body that breaks off is 400", async () => {
    const broken = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.error(new Error("reset"));
      },
    });
    expect((await handler(streamed(broken))).status).toBe(400);
  });

  test("a body shorter than it says was cut by something in between: 400", async () => {
    const response = await handler(post("/v1/push", message, { "content-length": String(message.length + 5) }));
    expect([response.status, await codeOf(response)]).toEqual([400, "INVALID_MESSAGE"]);
  });

  test("a handshake has a limit of its own", async () => {
    const small = createSyncHandler({
      router: scriptedRouter({}),
      procedures: "sync",
      createContext: () => ({}),
      limits: { maxHandshakeBytes: 100 },
    });
    expect((await small(post("/v1/handshake", new Uint8Array(101)))).status).toBe(413);
    expect((await small(post("/v1/push", message))).status).toBe(200);
  });
});
