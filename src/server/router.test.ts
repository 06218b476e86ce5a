import { callTRPCProcedure, initTRPC, isTrackedEnvelope, TRPCError, type AnyTRPCRouter } from "@trpc/server";
import { fetchRequestHandler } from "@trpc/server/adapters/fetch";
import { createTRPCClient, httpBatchLink } from "@trpc/client";
import type { inferRouterOutputs } from "@trpc/server";
import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import superjson from "superjson";
import { describe, expect, expectTypeOf, test } from "vitest";
import { withSync } from "../plugin/with-sync.ts";
import { isSyncError } from "../protocol/errors.ts";
import { fromJsonValues, toJsonValues } from "../protocol/json-values.ts";
import type { PullAnswer } from "../protocol/pull.ts";
import { defineFixture, openServer, schema, users, type ServerFixture } from "../testing/server-fixture.ts";
import { createSyncRouter } from "./router.ts";

const rows = [
  `INSERT INTO lists VALUES ('a', 'A', NULL)`,
  `INSERT INTO todos (id, list_id, title) VALUES ('t1', 'a', 'One')`,
  `INSERT INTO things VALUES (x'00ff', 'a', NULL, 1152921504606846977, x'0102', 9e999)`,
];

interface Context {
  readonly user: { readonly id: string } | null;
}
const plain = initTRPC.context<Context>().create();
const superTrpc = initTRPC.context<Context>().create({ transformer: superjson });

function routerOf(server: ServerFixture, t: typeof plain, shutdown?: AbortSignal) {
  const procedure = t.procedure.use(({ ctx, next }) => {
    if (ctx.user === null) throw new TRPCError({ code: "UNAUTHORIZED" });
    return next({ ctx: { user: ctx.user, org: 7 as const } });
  });
  return t.router({
    sync: createSyncRouter({
      db: server.db,
      procedure,
      subject: ({ ctx }) => ctx.user.id,
      scopes: async ({ ctx, subject }) => ({
        read: ["list:a", "everyone", `org:${ctx.org}`, `user:${subject}`],
        write: ["list:a", "everyone"],
      }),
      scopesDependOn: [users],
      authorize: ({ transaction }) =>
        transaction.operations.some(({ values }) => values["title"] === "never")
          ? { reject: "NOT_AUTHORIZED", message: "Never." }
          : undefined,
      ...(shutdown === undefined ? {} : { shutdown }),
    }),
  });
}

type Router = ReturnType<typeof routerOf>;
const call = (
  router: AnyTRPCRouter,
  path: string,
  type: "mutation" | "query" | "subscription",
  input: unknown,
  user: string | null = "ann",
  signal?: AbortSignal,
): Promise<unknown> =>
  callTRPCProcedure({
    router,
    path,
    type,
    ctx: { user: user === null ? null : { id: user } },
    getRawInput: async () => input,
    signal,
    batchIndex: 0,
  });

async function open(t: typeof plain = plain, shutdown?: AbortSignal) {
  const server = await openServer({ sql: rows });
  const router = routerOf(server, t, shutdown);
  const device = server.device("ann");
  const { epoch } = (await call(router, "sync.handshake", "mutation", {
    deviceId: device.id,
    protocol: [1],
    schema: { hash: device.schema, tables: device.tables },
    time: 1,
  })) as { epoch: never };
  device.epoch = epoch;
  return { server, router, device };
}

describe("createSyncRouter", () => {
  test.each([
    ["without a transformer", plain],
    ["with superjson", superTrpc as unknown as typeof plain],
  ])("gives procedures that work over the app's own tRPC %s, special values included", async (_name, t) => {
    const { server, router, device } = await open(t);
    await using _ = server;
    const handler = (input: string | URL | Request, init?: RequestInit): Promise<Response> =>
      fetchRequestHandler({
        endpoint: "/trpc",
        req: new Request(input, init),
        router,
        createContext: () => ({ user: { id: "ann" } }),
      });
    const transformer = t === plain ? {} : { transformer: superjson };
    const client = createTRPCClient<Router>({
      links: [httpBatchLink({ url: "http://server/trpc", fetch: handler as never, ...transformer } as never)],
    });
    const answer = fromJsonValues(await client.sync.pull.mutate({ ...device.request(), format: "json" })) as PullAnswer;
    if (answer.kind !== "page") throw new Error(answer.kind);
    device.apply([answer]);
    const thing = device.rows("things")[0];
    expect(thing).toMatchObject({ big: 2n ** 60n + 1n, ratio: Number.POSITIVE_INFINITY });
    expect([...(thing?.["bytes"] as Uint8Array)]).toEqual([1, 2]);
    const tx = device.tx(
      device.update("things", new Uint8Array([0, 255]), {
        big: [2n ** 60n + 1n, 2n ** 60n + 2n],
        ratio: [Number.POSITIVE_INFINITY, -0.5],
      }),
    );
    const message = toJsonValues({ ...device.message([tx]), format: "json" }) as Parameters<
      typeof client.sync.push.mutate
    >[0];
    expect(await client.sync.push.mutate(message)).toMatchObject({ kind: "ok", lastTx: { number: 1 } });
    expect((await client.sync.stats.query()).devices).toBe(1);
    await expect(client.sync.pull.mutate({ ...device.request(), limit: 0 })).rejects.toMatchObject({
      data: { code: "BAD_REQUEST" },
    });
  });

  test("runs the app's middlewares first, and hands them what they throw", async () => {
    const { server, router, device } = await open();
    await using _ = server;
    await expect(call(router, "sync.pull", "mutation", device.request(), null)).rejects.toMatchObject({
      code: "UNAUTHORIZED",
    });
    await expect(call(router, "sync.pull", "mutation", device.request(), "bob")).rejects.toSatisfy(
      (error: TRPCError) => error.code === "CONFLICT" && isSyncError(error.cause, "DEVICE_TAKEN"),
    );
    await expect(call(router, "sync.pull", "mutation", { ...device.request(), nonsense: 1 })).rejects.toSatisfy(
      (error: TRPCError) => error.code === "BAD_REQUEST" && isSyncError(error.cause, "INVALID_MESSAGE"),
    );
  });

  test("`authorize` answers with `reject`", async () => {
    const { server, router, device } = await open();
    await using _ = server;
    device.apply([(await call(router, "sync.pull", "mutation", device.request())) as never]);
    await call(
      router,
      "sync.push",
      "mutation",
      device.message([device.tx(device.update("todos", "t1", { title: ["One", "never"] }))]),
    );
    expect(await call(router, "sync.pull", "mutation", device.request())).toMatchObject({
      outcomes: [{ code: "NOT_AUTHORIZED", message: "Never." }],
    });
  });

  test("`live` yields tracked pokes, or pages where frames are asked for", async () => {
    const { server, router, device } = await open();
    await using _ = server;
    device.apply([(await call(router, "sync.pull", "mutation", device.request())) as never]);
    const abort = new AbortController();
    const pokes = (await call(
      router,
      "sync.live",
      "subscription",
      device.request(),
      "ann",
      abort.signal,
    )) as AsyncIterableIterator<unknown>;
    const pages = (await call(
      router,
      "sync.live",
      "subscription",
      { ...device.request(), frames: true },
      "ann",
      abort.signal,
    )) as AsyncIterableIterator<unknown>;
    const waiting = [pokes.next(), pages.next()] as const;
    await server.run(`UPDATE todos SET title = 'Uno' WHERE id = 't1'`);
    const poke = (await waiting[0]).value as [string, unknown];
    expect(isTrackedEnvelope(poke)).toBe(true);
    expect(poke[1]).toEqual({ kind: "poke" });
    const page = (await waiting[1]).value as { readonly to: string };
    expect(page).toMatchObject({ kind: "page", from: device.cursor });
    expect(poke[0]).toBe(page.to);
    // tRPC's client comes again with the last id: there is nothing more.
    const again = (await call(
      router,
      "sync.live",
      "subscription",
      { ...device.request(), lastEventId: poke[0] },
      "ann",
      abort.signal,
    )) as AsyncIterableIterator<unknown>;
    const next = again.next();
    abort.abort();
    expect((await next).done).toBe(true);
    expect((await pokes.next()).done).toBe(true);
  });

  test("a shutdown ends pokes with an error, so that their client comes again, and pages with a code", async () => {
    const shutdown = new AbortController();
    const { server, router, device } = await open(plain, shutdown.signal);
    await using _ = server;
    device.apply([(await call(router, "sync.pull", "mutation", device.request())) as never]);
    const pokes = (await call(router, "sync.live", "subscription", device.request())) as AsyncIterableIterator<unknown>;
    const pages = (await call(router, "sync.live", "subscription", {
      ...device.request(),
      frames: true,
    })) as AsyncIterableIterator<unknown>;
    const waiting = [pokes.next(), pages.next()] as const;
    waiting[0].catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, 20));
    shutdown.abort();
    await expect(waiting[0]).rejects.toMatchObject({ code: "SERVICE_UNAVAILABLE" });
    expect((await waiting[1]).value).toEqual({ kind: "end", reason: "shutdown" });
    const late = (await call(router, "sync.live", "subscription", device.request())) as AsyncIterableIterator<unknown>;
    await expect(late.next()).rejects.toMatchObject({ code: "SERVICE_UNAVAILABLE" });
  });

  test("a database may be found by the context, one for each tenant", async () => {
    await using one = await openServer({ sql: rows });
    await using two = await openServer();
    const router = plain.router({
      sync: createSyncRouter({
        db: ({ ctx }) => (ctx.user?.id === "ann" ? one.db : two.db),
        procedure: plain.procedure,
        subject: ({ ctx }) => ctx.user?.id ?? "nobody",
        scopes: () => ({ read: ["list:a"], write: [] }),
      }),
    });
    const device = one.device("ann");
    const handshake = {
      deviceId: device.id,
      protocol: [1],
      schema: { hash: device.schema, tables: device.tables },
      time: 1,
    };
    const epochs = [
      await call(router, "sync.handshake", "mutation", handshake, "ann"),
      await call(router, "sync.handshake", "mutation", handshake, "bob"),
    ].map((answer) => (answer as { epoch: string }).epoch);
    expect(new Set(epochs).size).toBe(2);
  });

  test("what is wrong with the options is said when the router is built", async () => {
    await using server = await openServer();
    const base = { procedure: plain.procedure, subject: () => "ann", scopes: () => ({ read: [], write: [] }) };
    expect(() => createSyncRouter({ ...base, db: {} })).toThrow(expect.objectContaining({ code: "INVALID_CONFIG" }));
    const { integer, sqliteTable } = await import("drizzle-orm/sqlite-core");
    const other = sqliteTable("other", { id: integer("id").primaryKey() });
    expect(() => createSyncRouter({ ...base, db: server.db, scopesDependOn: [other] })).toThrow(/scopesDependOn/);
    const router = plain.router({ sync: createSyncRouter({ ...base, db: server.db, subject: () => "" }) });
    await expect(call(router, "sync.stats", "query", undefined)).rejects.toSatisfy((error: TRPCError) =>
      isSyncError(error.cause, "INVALID_CONFIG"),
    );
    const wrong = plain.router({
      sync: createSyncRouter({ ...base, db: server.db, scopes: () => ({ read: "everything" }) as never }),
    });
    const device = server.device("ann");
    await device.handshake();
    await expect(call(wrong, "sync.pull", "mutation", device.request())).rejects.toSatisfy((error: TRPCError) =>
      isSyncError(error.cause, "INVALID_CONFIG"),
    );
  });
});

test("everything is inferred from the procedure and the database", () => {
  const db = withSync(drizzle(new Database(":memory:"), { schema }), defineFixture());
  const procedure = plain.procedure.use(({ next }) => next({ ctx: { user: { id: "x" }, org: 7 as const } }));
  const typed = () =>
    plain.router({
      sync: createSyncRouter({
        db,
        procedure,
        subject: ({ ctx }) => {
          expectTypeOf(ctx.org).toEqualTypeOf<7>();
          return ctx.user.id;
        },
        scopes: ({ ctx }) => ({ read: [`list:${ctx.org}`], write: [] }),
        assign: {
          todos: ({ subject, row }) => {
            expectTypeOf(row.done).toEqualTypeOf<boolean | undefined>();
            return { createdBy: subject, updatedAt: new Date(0) };
          },
        },
        authorize: async () => {},
      }),
    });
  expectTypeOf<inferRouterOutputs<ReturnType<typeof typed>>["sync"]["stats"]["devices"]>().toEqualTypeOf<number>();
  const base = { db, procedure, subject: () => "ann", scopes: () => ({ read: [], write: [] }) };
  const build = () => {
    createSyncRouter({ ...base, scopes: () => ({ read: ["everyone", "user:1"], write: ["list:a"] }) });
    // @ts-expect-error -- a scope that the definition does not have.
    createSyncRouter({ ...base, scopes: () => ({ read: ["lists:a"], write: [] }) });
    // @ts-expect-error -- the user may be null on the public procedure.
    createSyncRouter({ ...base, procedure: plain.procedure, subject: ({ ctx }) => ctx.user.id });
    // @ts-expect-error -- a misspelt field of the context.
    createSyncRouter({ ...base, subject: ({ ctx }) => ctx.userId });
    // @ts-expect-error -- a column with a value of another type.
    createSyncRouter({ ...base, assign: { todos: () => ({ createdBy: 5 }) } });
    // @ts-expect-error -- a table that the schema does not have.
    createSyncRouter({ ...base, assign: { todo: () => ({}) } });
  };
  expect(build).toBeTypeOf("function");
});
