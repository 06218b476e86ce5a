import { RateLimiterMemory } from "rate-limiter-flexible";
import { describe, expect, test } from "vitest";
import { codeOf, decoded, get, post } from "../../testing/http-calls.ts";
import { pullRequest, pushRequest } from "../../testing/sample-messages.ts";
import { scriptedRouter } from "../../testing/scripted-service.ts";
import { createSyncHandler } from "./handler.ts";
import type { RateLimitOptions } from "./rate-limit.ts";
import { setRemoteAddress } from "./remote-address.ts";

interface Context {
  readonly user?: string;
}

function handlerWith(rateLimit: RateLimitOptions<Context>, onError: (failure: { error: unknown }) => void = () => {}) {
  return createSyncHandler({
    router: scriptedRouter({}),
    procedures: "sync",
    createContext({ req }): Context {
      const user = req.headers.get("authorization");
      if (user === "bad") throw new Error("not a token");
      return user === null ? {} : { user };
    },
    rateLimit,
    onError,
  });
}

const limiter = (points: number): RateLimiterMemory => new RateLimiterMemory({ points, duration: 60 });
const pull = (user: string): Request => post("/v1/pull", pullRequest, { authorization: user });

describe("rate limits", () => {
  test("a subject that is over its limit gets 429 and when to come back; others go on", async () => {
    const handler = handlerWith({ limiter: limiter(2), key: ({ ctx }) => ctx?.user });
    expect((await handler(pull("ann"))).status).toBe(200);
    expect((await handler(pull("ann"))).status).toBe(200);
    const request = pull("ann");
    const refused = await handler(request);
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(50);
    const { error } = (await decoded(refused)) as { error: { code: string; details: { retryAfterMs: number } } };
    expect(error.code).toBe("RATE_LIMITED");
    expect(error.details.retryAfterMs).toBeGreaterThan(50_000);
    expect(request.bodyUsed).toBe(false);
    expect((await handler(pull("ben"))).status).toBe(200);
  });

  test("an address is a key as well, and no key is free", async () => {
    const handler = handlerWith({ limiter: limiter(1), key: ({ address }) => address });
    const from = (address: string): Request => {
      const request = get("/v1/stats");
      setRemoteAddress(request, address);
      return request;
    };
    const statuses: number[] = [];
    for (const request of [from("10.0.0.1"), from("10.0.0.1"), from("10.0.0.2"), get("/v1/stats"), get("/v1/stats")]) {
      statuses.push((await handler(request)).status);
    }
    expect(statuses).toEqual([200, 429, 200, 200, 200]);
  });

  test("a push is charged for its transactions, so that sending many at once buys nothing", async () => {
    const handler = handlerWith({
      limiter: limiter(10),
      key: () => "all",
      points: ({ transactions }) => Math.max(1, transactions),
    });
    const [transaction] = pushRequest.txs;
    const many = { ...pushRequest, txs: Array.from({ length: 11 }, () => transaction) };
    const refused = await handler(post("/v1/push", many));
    expect([refused.status, await codeOf(refused)]).toEqual([429, "RATE_LIMITED"]);
  });

  test("guessing tokens is charged, before anything is known of the caller", async () => {
    const handler = handlerWith({ limiter: limiter(1), key: ({ ctx }) => ctx?.user ?? "nobody" });
    expect((await handler(pull("bad"))).status).toBe(500);
    expect((await handler(pull("bad"))).status).toBe(429);
  });

  test("a limiter whose store is down is the server's failure", async () => {
    const failures: unknown[] = [];
    const handler = handlerWith(
      { limiter: { consume: () => Promise.reject(new Error("store down")) }, key: () => "all" },
      ({ error }) => failures.push(error),
    );
    const response = await handler(pull("ann"));
    expect([response.status, await codeOf(response)]).toEqual([500, "UNAVAILABLE"]);
    expect(failures).toHaveLength(1);
  });

  test("health and version are free", async () => {
    const handler = handlerWith({ limiter: limiter(0), key: () => "all" });
    expect((await handler(get("/health"))).status).toBe(200);
    expect((await handler(get("/v1/version"))).status).toBe(200);
    expect((await handler(get("/v1/stats"))).status).toBe(429);
  });
});
