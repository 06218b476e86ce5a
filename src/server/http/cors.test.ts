import { describe, expect, test } from "vitest";
import { codeOf, get, post } from "../../testing/http-calls.ts";
import { pullRequest } from "../../testing/sample-messages.ts";
import { scriptedRouter } from "../../testing/scripted-service.ts";
import type { CorsOptions } from "./cors.ts";
import { createSyncHandler } from "./handler.ts";

const app = "https://app.example";

function handlerWith(cors?: CorsOptions) {
  const options = { router: scriptedRouter({}), procedures: "sync", createContext: () => ({}) };
  return createSyncHandler(cors === undefined ? options : { ...options, cors });
}

function preflight(origin: string): Request {
  return new Request("http://sync.test/v1/pull", {
    method: "OPTIONS",
    headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": "content-type" },
  });
}

describe("CORS", () => {
  test("is closed by default: a preflight allows nothing", async () => {
    const response = await handlerWith()(preflight(app));
    expect(response.status).toBe(204);
    expect([...response.headers.keys()].filter((name) => name.startsWith("access-control"))).toEqual([]);
  });

  test("allows the origins that were named, and no others", async () => {
    const handler = handlerWith({ origins: [app] });
    const response = await handler(preflight(app));
    expect(Object.fromEntries(response.headers)).toMatchObject({
      "access-control-allow-origin": app,
      "access-control-allow-methods": "POST",
      "access-control-max-age": "600",
      vary: "origin",
    });
    expect(response.headers.get("access-control-allow-headers")).toContain("x-sync-accept-encoding");
    expect(response.headers.has("access-control-allow-credentials")).toBe(false);
    for (const origin of [
      "https://app.example.evil",
      "https://evil-app.example",
      "http://app.example",
      "null",
      "https://APP.example",
    ]) {
      expect((await handler(preflight(origin))).headers.has("access-control-allow-origin"), origin).toBe(false);
    }
  });

  test("lets the page read the answer, errors too", async () => {
    const handler = handlerWith({ origins: (origin) => origin.endsWith(".example"), credentials: true, maxAge: 5 });
    for (const request of [
      post("/v1/pull", pullRequest, { origin: app }),
      post("/v1/pull", {}, { origin: app }),
      get("/nowhere", { origin: app }),
    ]) {
      const { headers } = await handler(request);
      expect(headers.get("access-control-allow-origin")).toBe(app);
      expect(headers.get("access-control-allow-credentials")).toBe("true");
      expect(headers.get("access-control-expose-headers")).toContain("x-sync-encoding");
      expect(headers.get("vary")).toContain("origin");
    }
    expect((await handler(preflight(app))).headers.get("access-control-max-age")).toBe("5");
  });

  test("all origins are allowed by a star, without credentials only", async () => {
    expect((await handlerWith({ origins: "*" })(preflight(app))).headers.get("access-control-allow-origin")).toBe("*");
    expect(() => handlerWith({ origins: "*", credentials: true })).toThrow(/credentials/);
  });
});

describe("requests that a foreign page makes a browser send", () => {
  const cookie = "session=1";

  test("a form cannot post: its types are not CBOR", async () => {
    for (const type of ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]) {
      const response = await handlerWith()(
        post("/v1/push", new Uint8Array([0xa0]), { "content-type": type, origin: "http://sync.test", cookie }),
      );
      expect(response.status, type).toBe(415);
    }
  });

  test("cookies from another origin are refused, in whatever way the browser tells of it", async () => {
    const handler = handlerWith();
    const tells = [
      { origin: "https://evil.example" },
      { origin: "null" },
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "same-site", origin: "http://other.sync.test" },
    ];
    for (const tell of tells) {
      const headers = { cookie, ...tell } as Record<string, string>;
      for (const request of [
        get("/v1/stats", headers),
        get("/v1/stream?request=oA", headers),
        post("/v1/pull", pullRequest, headers),
      ]) {
        const response = await handler(request);
        expect([response.status, await codeOf(response)], JSON.stringify(tell)).toEqual([403, "FORBIDDEN"]);
      }
    }
  });

  test("cookies from the own origin are welcome, behind a proxy too", async () => {
    const handler = handlerWith();
    const own = [
      {},
      { "sec-fetch-site": "same-origin", origin: "https://whatever.example" },
      { "sec-fetch-site": "none" },
      { origin: "https://sync.test" },
      { origin: "https://public.example", host: "public.example" },
      { origin: "https://public.example", "x-forwarded-host": "public.example" },
    ];
    for (const headers of own)
      expect((await handler(get("/v1/stats", { cookie, ...headers }))).status, JSON.stringify(headers)).toBe(200);
  });

  test("a named origin may send cookies only if credentials are allowed", async () => {
    const request = (): Request => get("/v1/stats", { cookie, origin: app, "sec-fetch-site": "cross-site" });
    expect((await handlerWith({ origins: [app] })(request())).status).toBe(403);
    expect((await handlerWith({ origins: [app], credentials: true })(request())).status).toBe(200);
  });

  test("without cookies a foreign origin is no danger", async () => {
    expect(
      (await handlerWith()(get("/v1/stats", { origin: "https://evil.example", authorization: "Bearer x" }))).status,
    ).toBe(200);
  });
});
