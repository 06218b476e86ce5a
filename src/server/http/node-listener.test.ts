import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { connect } from "node:net";
import { describe, expect, test, vi } from "vitest";
import { encodeCbor } from "../../protocol/cbor.ts";
import { listen } from "../../testing/http-calls.ts";
import { pushRequest } from "../../testing/sample-messages.ts";
import { scriptedRouter } from "../../testing/scripted-service.ts";
import { createSyncHandler } from "./handler.ts";
import { toNodeListener } from "./node-listener.ts";
import { remoteAddress } from "./remote-address.ts";

type Handle = (request: Request) => Promise<Response>;

async function withServer<T>(
  handler: Handle,
  use: (url: string) => Promise<T>,
  onError?: (error: unknown) => void,
): Promise<T> {
  const { url, close } = await listen(toNodeListener(handler, onError === undefined ? {} : { onError }));
  try {
    return await use(url);
  } finally {
    await close();
  }
}

/** Sends bytes as they are and gives back what came, until the server closes. */
function raw(url: string, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(url).port), "127.0.0.1", () => socket.write(text));
    let answer = "";
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      answer += chunk;
    });
    socket.on("close", () => resolve(answer));
    socket.on("error", reject);
  });
}

const until = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 2000, interval: 5 });

describe("toNodeListener", () => {
  test("hands over method, address, headers and body, and answers with status, headers and body", async () => {
    const handler: Handle = async (request) => {
      const headers = new Headers({
        "x-url": request.url,
        "x-method": request.method,
        "x-two": request.headers.get("x-two") ?? "",
      });
      headers.append("set-cookie", "a=1");
      headers.append("set-cookie", "b=2");
      headers.set("x-address", remoteAddress(request) ?? "none");
      return new Response(await request.arrayBuffer(), { status: 201, headers });
    };
    await withServer(handler, async (url) => {
      const body = new Uint8Array(1_000_000).fill(7);
      const response = await fetch(`${url}/a/b?c=d`, {
        method: "POST",
        body,
        headers: [
          ["x-two", "1"],
          ["x-two", "2"],
        ],
      });
      expect(response.status).toBe(201);
      expect(response.headers.get("x-url")).toBe(`${url}/a/b?c=d`);
      expect(response.headers.get("x-method")).toBe("POST");
      expect(response.headers.get("x-two")).toBe("1, 2");
      expect(response.headers.get("x-address")).toBe("127.0.0.1");
      expect(response.headers.getSetCookie()).toEqual(["a=1", "b=2"]);
      expect(new Uint8Array(await response.arrayBuffer())).toEqual(body);
    });
  });

  test("answers without a body, and HEAD", async () => {
    await withServer(
      createSyncHandler({ router: scriptedRouter({}), procedures: "sync", createContext: () => ({}) }),
      async (url) => {
        expect((await fetch(`${url}/v1/pull`, { method: "OPTIONS" })).status).toBe(204);
        const head = await fetch(`${url}/health`, { method: "HEAD" });
        expect([head.status, await head.text()]).toEqual([200, ""]);
      },
    );
  });

  test("a path never names another host, however it is written", async () => {
    const handler: Handle = async (request) => new Response(request.url);
    await withServer(handler, async (url) => {
      const host = new URL(url).host;
      const ask = (target: string): Promise<string> =>
        raw(url, `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
      expect(await ask("//evil.example/health")).toContain(`${url}//evil.example/health`);
      expect(await ask("/a/../../health")).toContain(`${url}/health`);
      expect(await ask("/\\evil.example/health")).toContain(`${url}//evil.example/health`);
    });
  });

  test("a request that makes no address is 400, and the server goes on", async () => {
    const handler: Handle = async () => new Response("ok");
    await withServer(handler, async (url) => {
      for (const head of [
        "GET / HTTP/1.1\r\nHost: a b",
        "GET * HTTP/1.1\r\nHost: x",
        "GET ftp://x/ HTTP/1.1\r\nHost: x",
        "TRACE / HTTP/1.1\r\nHost: x",
        "GET / HTTP/1.1\r\nHost: x:99999",
      ]) {
        expect(await raw(url, `${head}\r\nConnection: close\r\n\r\n`), head).toMatch(/^HTTP\/1\.1 400/);
      }
      expect(await (await fetch(url)).text()).toBe("ok");
    });
  });

  test("streams arrive piece by piece, and a caller that leaves aborts its request and ends the stream", async () => {
    const seen = { aborted: false, cancelled: false };
    const handler: Handle = async (request) => {
      request.signal.addEventListener("abort", () => {
        seen.aborted = true;
      });
      const body = new ReadableStream<Uint8Array>({
        start: (controller) => controller.enqueue(new Uint8Array([1])),
        cancel() {
          seen.cancelled = true;
        },
      });
      return new Response(body);
    };
    await withServer(handler, async (url) => {
      const leaving = new AbortController();
      const response = await fetch(url, { signal: leaving.signal });
      const reader = response.body?.getReader();
      expect((await reader?.read())?.value).toEqual(new Uint8Array([1]));
      leaving.abort();
      await reader?.read().catch(() => {});
      await until(() => expect(seen).toEqual({ aborted: true, cancelled: true }));
    });
  });

  test("a caller that leaves while the handler works aborts its request", async () => {
    let left = (): void => {};
    const hasLeft = new Promise<void>((resolve) => {
      left = resolve;
    });
    const handler: Handle = async (request) => {
      request.signal.addEventListener("abort", left);
      await hasLeft;
      return new Response("too late");
    };
    await withServer(handler, async (url) => {
      await expect(fetch(url, { signal: AbortSignal.timeout(30) })).rejects.toThrow();
      await hasLeft;
    });
  });

  test("a caller that reads slowly is written to slowly", async () => {
    let pulled = 0;
    const handler: Handle = async () =>
      new Response(
        new ReadableStream<Uint8Array>({
          pull(controller) {
            pulled += 1;
            controller.enqueue(new Uint8Array(100_000));
          },
        }),
      );
    await withServer(handler, async (url) => {
      const socket = connect(Number(new URL(url).port), "127.0.0.1", () =>
        socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
      );
      socket.pause();
      let before = -1;
      await until(() => {
        const isStill = pulled > 0 && pulled === before;
        before = pulled;
        expect(isStill).toBe(true);
      });
      expect(pulled).toBeLessThan(200);
      socket.destroy();
    });
  });

  test("a refused body is not read to its end: the answer comes, then the connection is cut", async () => {
    const handler = createSyncHandler({
      router: scriptedRouter({}),
      procedures: "sync",
      createContext: () => ({}),
      limits: { maxRequestBytes: 1000 },
    });
    await withServer(handler, async (url) => {
      const answer = await new Promise<{
        status: number | undefined;
        headers: IncomingHttpHeaders;
        cut: Promise<void>;
      }>((resolve, reject) => {
        const sending = httpRequest(
          `${url}/v1/push`,
          { method: "POST", headers: { "content-type": "application/cbor" } },
          (incoming) => {
            incoming.resume();
            const cut = new Promise<void>((cutNow) => {
              sending.on("close", cutNow);
            });
            resolve({ status: incoming.statusCode, headers: incoming.headers, cut });
          },
        );
        sending.on("error", reject);
        sending.write(new Uint8Array(5000));
      });
      expect([answer.status, answer.headers.connection]).toEqual([413, "close"]);
      await answer.cut;
    });
  });

  test("a body that stops in the middle is given up in time", async () => {
    const handler = createSyncHandler({
      router: scriptedRouter({}),
      procedures: "sync",
      createContext: () => ({}),
      limits: { bodyTimeoutMs: 30 },
    });
    await withServer(handler, async (url) => {
      const answer = await raw(
        url,
        "POST /v1/push HTTP/1.1\r\nHost: x\r\nContent-Type: application/cbor\r\nContent-Length: 100\r\n\r\nabc",
      );
      expect(answer).toMatch(/^HTTP\/1\.1 408/);
    });
  });

  test("a body that breaks off is no failure of the server", async () => {
    const onError = vi.fn();
    const handler = createSyncHandler({
      router: scriptedRouter({}),
      procedures: "sync",
      createContext: () => ({}),
      onError,
    });
    await withServer(handler, async (url) => {
      const socket = connect(Number(new URL(url).port), "127.0.0.1", () => {
        socket.write(
          "POST /v1/push HTTP/1.1\r\nHost: x\r\nContent-Type: application/cbor\r\nContent-Length: 100\r\n\r\nabc",
        );
        setTimeout(() => socket.resetAndDestroy(), 20);
      });
      socket.on("error", () => {});
      await new Promise((resolve) => {
        socket.on("close", resolve);
      });
      const response = await fetch(`${url}/v1/push`, {
        method: "POST",
        body: encodeCbor(pushRequest),
        headers: { "content-type": "application/cbor" },
      });
      expect(response.status).toBe(200);
      expect(onError).not.toHaveBeenCalled();
    });
  });

  test("a handler that throws costs its own connection alone", async () => {
    const onError = vi.fn();
    const failure = new Error("bug");
    const handler: Handle = async (request) => {
      if (request.url.endsWith("/bug")) throw failure;
      return new Response("ok");
    };
    await withServer(
      handler,
      async (url) => {
        await expect(fetch(`${url}/bug`)).rejects.toThrow();
        expect(await (await fetch(url)).text()).toBe("ok");
        expect(onError).toHaveBeenCalledWith(failure);
      },
      onError,
    );
  });
});
