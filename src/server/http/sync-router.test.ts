import Database from "better-sqlite3";
import { initTRPC, TRPCError } from "@trpc/server";
import { createTRPCClient, httpBatchLink } from "@trpc/client";
import { fetchRequestHandler } from "@trpc/server/adapters/fetch";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import superjson from "superjson";
import { expect, test } from "vitest";
import { httpTransport } from "../../client/http-transport.ts";
import type { Transport } from "../../client/transport.ts";
import { trpcTransport } from "../../client/trpc-transport.ts";
import { defineSync } from "../../plugin/define-sync.ts";
import { withSync } from "../../plugin/with-sync.ts";
import { hashSchema, hashScopes } from "../../protocol/hash.ts";
import type { Cursor } from "../../protocol/ids.ts";
import { makeDeviceId } from "../../protocol/ids.ts";
import type { LiveFrame } from "../../protocol/live.ts";
import type { Page, PullRequest } from "../../protocol/pull.ts";
import { createSyncRouter } from "../router.ts";
import { createSyncHandler } from "./handler.ts";

const notes = sqliteTable("notes", {
  id: text("id").primaryKey(),
  title: text("title").notNull(),
  size: integer("size"),
});
const schema = { notes };
const sync = defineSync(schema, { notes: { scope: "everyone" } });
const never = new AbortController().signal;

/** An app: a database, a router as people have it, and the two ways in. */
function createApp() {
  const database = new Database(":memory:");
  database.exec("CREATE TABLE notes (id TEXT PRIMARY KEY NOT NULL, title TEXT NOT NULL, size INTEGER)");
  const db = withSync(drizzle(database, { schema }), sync);
  const t = initTRPC.context<{ readonly user: string | null }>().create({ transformer: superjson });
  const procedure = t.procedure.use(({ ctx, next }) => {
    if (ctx.user === null) throw new TRPCError({ code: "UNAUTHORIZED", message: "Sign in." });
    return next({ ctx: { user: ctx.user } });
  });
  const router = t.router({
    sync: createSyncRouter({
      db,
      procedure,
      subject: ({ ctx }) => ctx.user,
      scopes: () => ({ read: ["everyone"], write: ["everyone"] }),
    }),
  });
  const createContext = ({ req }: { readonly req: Request }) => ({
    user: req.headers.get("authorization")?.slice("Bearer ".length) ?? null,
  });
  const handler = createSyncHandler({ router, procedures: "sync", createContext });
  const http = httpTransport({
    url: "http://sync.test/api/sync",
    token: () => "ann",
    fetch: (url, init) => handler(new Request(url, init)),
  });
  const trpc = createTRPCClient<typeof router>({
    links: [
      httpBatchLink({
        url: "http://sync.test/trpc",
        transformer: superjson,
        headers: { authorization: "Bearer ann" },
        fetch: (url, init) =>
          fetchRequestHandler({
            endpoint: "/trpc",
            req: new Request(url as string, init as RequestInit),
            router,
            createContext,
          }),
      }),
    ],
  });
  return { db, handler, http, trpc: trpcTransport(trpc.sync), close: () => database.close() };
}

const tables = { notes: ["id", "title", "size"] };
const schemaHash = hashSchema(tables);

function pullOf(deviceId: PullRequest["deviceId"], cursor?: Cursor): PullRequest {
  const place = cursor === undefined ? { held: hashScopes([]) } : { held: hashScopes(["everyone"]), cursor };
  return { deviceId, ...place, schema: schemaHash, baseSchema: schemaHash, ackedTx: 0, limit: 1000 };
}

async function pulled(transport: Transport, request: PullRequest): Promise<Page> {
  const answer = await transport.pull(request, { signal: never });
  if (answer.kind !== "page") throw new Error(JSON.stringify(answer));
  return answer;
}

test.each(["http", "trpc"] as const)("the app's own router answers a device over %s", async (way) => {
  const app = createApp();
  const transport = app[way];
  const deviceId = makeDeviceId();
  await app.db.insert(notes).values({ id: "a", title: "first", size: 1 });
  const handshake = await transport.handshake(
    { deviceId, protocol: [1], schema: { hash: schemaHash, tables }, time: Date.now() },
    { signal: never },
  );
  const first = await pulled(transport, pullOf(deviceId));
  expect(first.changes).toEqual([
    { table: "notes", kind: "row", columns: ["id", "title", "size"], values: [["a"], ["first"], [1]] },
  ]);
  const answer = await transport.push(
    {
      deviceId,
      epoch: handshake.epoch,
      previous: { number: 0, stamp: 0 },
      shapes: [{ table: "notes", kind: "insert", columns: ["title", "size"] }],
      txs: [
        { number: 1, stamp: 5, hlc: 1, schema: schemaHash, ops: [[0, ["b"], ["second", 9_007_199_254_740_993n], []]] },
      ],
    },
    { signal: never },
  );
  expect(answer).toMatchObject({ kind: "ok", lastTx: { number: 1, stamp: 5 } });
  const second = await pulled(transport, { ...pullOf(deviceId, first.to), epoch: handshake.epoch });
  expect(second).toMatchObject({
    changes: [{ table: "notes", kind: "row", values: [["b"], ["second"], [9_007_199_254_740_993n]] }],
    lastTx: { number: 1, stamp: 5 },
  });
  app.close();
});

test("L1: a stream carries what is committed, whoever commits it", async () => {
  const app = createApp();
  const deviceId = makeDeviceId();
  const { epoch } = await app.http.handshake(
    { deviceId, protocol: [1], schema: { hash: schemaHash, tables }, time: Date.now() },
    { signal: never },
  );
  const { to } = await pulled(app.http, pullOf(deviceId));
  const leaving = new AbortController();
  const frames: LiveFrame[] = [];
  const reading = (async () => {
    const request = { ...pullOf(deviceId, to), epoch };
    for await (const frame of app.http.live?.(request, { signal: leaving.signal }) ?? []) {
      frames.push(frame);
      if (frame.kind === "heartbeat") await app.db.insert(notes).values({ id: "live", title: "now" });
      if (frame.kind === "page") leaving.abort();
      if (frame.kind === "end") throw new Error(frame.reason);
    }
  })();
  await expect(reading).rejects.toMatchObject({ code: "ABORTED" });
  expect(frames.at(-1)).toMatchObject({
    kind: "page",
    from: to,
    changes: [{ table: "notes", values: [["live"], ["now"], [null]] }],
  });
  app.close();
});

test("nobody who is not signed in gets anything", async () => {
  const app = createApp();
  const anonymous = httpTransport({
    url: "http://sync.test",
    fetch: (url, init) => app.handler(new Request(url, init)),
  });
  await expect(anonymous.pull(pullOf(makeDeviceId()), { signal: never })).rejects.toMatchObject({
    code: "UNAUTHORIZED",
  });
  expect((await app.handler(new Request("http://sync.test/v1/stats"))).status).toBe(401);
  app.close();
});
