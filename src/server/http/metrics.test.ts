import { Registry } from "prom-client";
import { describe, expect, test } from "vitest";
import { get, post } from "../../testing/http-calls.ts";
import { pullRequest } from "../../testing/sample-messages.ts";
import { scriptedRouter } from "../../testing/scripted-service.ts";
import { countTrimmed, showHorizon } from "../retention-totals.ts";
import { createSyncHandler } from "./handler.ts";
import type { MetricsOptions } from "./metrics.ts";

function handlerWith(metrics: boolean | MetricsOptions, onError: (failure: { error: unknown }) => void = () => {}) {
  return createSyncHandler({
    router: scriptedRouter({}),
    procedures: "sync",
    createContext: () => ({}),
    metrics,
    onError,
  });
}

describe("metrics", () => {
  test("do not exist unless they were asked for", async () => {
    expect((await handlerWith(false)(get("/metrics"))).status).toBe(404);
  });

  test("count requests by endpoint, method and status, with a registry of their own", async () => {
    const handler = handlerWith(true);
    await handler(post("/v1/pull", pullRequest));
    await handler(post("/v1/pull", {}));
    await handler(new Request("http://sync.test/secret", { method: "PURGE" }));
    const response = await handler(get("/metrics"));
    expect(response.headers.get("content-type")).toContain("text/plain");
    const text = await response.text();
    expect(text).toMatch(/drizzle_sync_request_duration_seconds_count\{endpoint="pull",method="POST",status="200"\} 1/);
    expect(text).toMatch(/drizzle_sync_request_duration_seconds_count\{endpoint="pull",method="POST",status="400"\} 1/);
    expect(text).toMatch(/_count\{endpoint="unknown",method="other",status="404"\} 1/);
    expect(text).toMatch(/drizzle_sync_answer_bytes_total\{endpoint="pull",method="POST",status="200"\} [1-9]/);
    expect(text).not.toContain("secret");
  });

  test("go into the app's registry, and on after a hot reload", async () => {
    const registry = new Registry();
    await handlerWith({ registry })(post("/v1/pull", pullRequest));
    await handlerWith({ registry })(post("/v1/pull", pullRequest));
    expect(await registry.metrics()).toMatch(/_count\{endpoint="pull",method="POST",status="200"\} 2/);
  });

  test("tell what was trimmed, and how far back the shortest log reaches", async () => {
    const handler = handlerWith(true);
    const read = async (name: string): Promise<number> => {
      const text = await (await handler(get("/metrics"))).text();
      return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1]);
    };
    const before = await read("drizzle_sync_log_trimmed_total");
    countTrimmed(7);
    expect(await read("drizzle_sync_log_trimmed_total")).toBe(before + 7);
    const shown = [
      showHorizon({ since: Date.now() - 60_000 }),
      showHorizon({ since: Date.now() - 9_000_000 }),
      showHorizon({}),
    ];
    expect(await read("drizzle_sync_log_horizon_age_seconds")).toBeCloseTo(60, 0);
    expect(shown).toHaveLength(3);
  });

  test("are for those alone whom the app lets read them", async () => {
    const handler = handlerWith({ authorize: (request) => request.headers.get("authorization") === "Bearer ops" });
    expect((await handler(get("/metrics"))).status).toBe(403);
    expect((await handler(get("/metrics", { authorization: "Bearer ops" }))).status).toBe(200);
  });

  test("that cannot be loaded are said to be missing once, and nothing else stops", async () => {
    const failures: unknown[] = [];
    const handler = handlerWith({ load: () => Promise.reject(new Error("Cannot find package")) }, ({ error }) =>
      failures.push(error),
    );
    expect((await handler(post("/v1/pull", pullRequest))).status).toBe(200);
    expect((await handler(post("/v1/pull", pullRequest))).status).toBe(200);
    expect(failures).toHaveLength(1);
    expect(String(failures[0])).toContain("prom-client");
    expect((await handler(get("/metrics"))).status).toBe(500);
  });
});
