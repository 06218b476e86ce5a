import { describe, expect, test, vi } from "vitest";
import { hashScopes } from "../protocol/hash.ts";
import { formatCursor, parseCursor, type Cursor } from "../protocol/ids.ts";
import type { LiveFrame } from "../protocol/live.ts";
import type { Page, PullRequest } from "../protocol/pull.ts";
import type { HandDevice } from "../testing/hand-device.ts";
import { drivers, openServer, type ServerFixture, type ServerFixtureOptions } from "../testing/server-fixture.ts";
import { encodedAnswer } from "./encoded.ts";
import type { StreamedFrame } from "./live-stream.ts";

const rows = [
  `INSERT INTO lists VALUES ('a', 'A', NULL), ('b', 'B', NULL)`,
  `INSERT INTO todos (id, list_id, title) VALUES ('t1', 'a', 'One'), ('t2', 'a', 'Two'), ('t3', 'b', 'Three')`,
];
const todo = {
  listId: "a",
  assignee: null,
  title: "New",
  notes: null,
  done: 0,
  rank: null,
  slug: null,
  createdBy: null,
  updatedAt: null,
};

interface OpenStream {
  next(): Promise<LiveFrame | "over">;
  /** The frame that is there within a moment, or undefined. */
  soon(): Promise<LiveFrame | "over" | undefined>;
  readonly iterator: AsyncIterableIterator<StreamedFrame>;
  stop(): void;
}

function stream(device: HandDevice, more: Partial<PullRequest> = {}, carries: "pages" | "pokes" = "pages"): OpenStream {
  const abort = new AbortController();
  const iterator = device.service.stream(device.caller, device.request(more), { carries, signal: abort.signal });
  let waiting: Promise<LiveFrame | "over"> | undefined;
  const next = (): Promise<LiveFrame | "over"> => {
    const current = waiting ?? iterator.next().then((result) => (result.done === true ? "over" : result.value.frame));
    waiting = undefined;
    return current;
  };
  return {
    next,
    async soon() {
      const current = next();
      const moment = new Promise<undefined>((resolve) => setTimeout(resolve, 150, undefined));
      const first = await Promise.race([current, moment]);
      if (first === undefined) waiting = current;
      return first;
    },
    iterator,
    stop: () => abort.abort(),
  };
}

async function openPair(
  options: ServerFixtureOptions = {},
  read = ["list:a", "everyone"],
): Promise<{ server: ServerFixture; device: HandDevice }> {
  const server = await openServer({ sql: rows, ...options });
  return { server, device: await openDevice(server, "ann", read, ["list:a"]) };
}

/** A subject's device, in step with what it may read. */
async function openDevice(
  server: ServerFixture,
  subject: string,
  read = ["list:a", "everyone"],
  write: string[] = [],
): Promise<HandDevice> {
  server.grants.set(subject, { read, write });
  const device = server.device(subject);
  await device.handshake();
  await device.pull();
  return device;
}

function page(frame: LiveFrame | "over" | undefined): Page {
  if (frame === undefined || frame === "over" || frame.kind !== "page")
    throw new Error(`Not a page but ${JSON.stringify(frame)}.`);
  return frame;
}

describe.each(drivers)("live over %s", (driver) => {
  test("L1: a commit in the device's scopes comes as the page that a pull would give, and the next one follows it", async () => {
    const { server, device } = await openPair({ driver });
    await using _ = server;
    const live = stream(device);
    const waiting = live.next();
    await server.run(`UPDATE todos SET title = 'Uno' WHERE id = 't1'`);
    const first = page(await waiting);
    expect(first.changes).toEqual([
      { table: "todos", kind: "update", columns: ["id", "title"], values: [["t1"], ["Uno"]] },
    ]);
    expect(first.from).toBe(device.cursor);
    // U4: the device holds them.
    expect(first).not.toHaveProperty("scopes");
    device.apply([first]);
    const second = live.next();
    await server.run(`DELETE FROM todos WHERE id = 't2'`);
    device.apply([page(await second)]);
    expect(device.rows("todos")).toMatchObject([{ id: "t1", title: "Uno" }]);
    expect(await device.pull()).toEqual(["page"]);
    expect(device.pages[0]?.changes).toEqual([]);
    live.stop();
  });

  test("L1: a stream resumes at the cursor, with what happened meanwhile", async () => {
    const { server, device } = await openPair({ driver });
    await using _ = server;
    await server.run(`UPDATE todos SET title = 'Uno' WHERE id = 't1'`);
    const live = stream(device);
    device.apply([page(await live.next())]);
    expect(device.row("todos", "t1")).toMatchObject({ title: "Uno" });
    live.stop();
    expect(await live.next()).toBe("over");
  });

  test("L2: a change of rights ends the stream, and nothing that is no longer readable is sent before", async () => {
    const { server, device } = await openPair({ driver, scopesDependOn: new Set(["lists"]) });
    await using _ = server;
    const live = stream(device);
    expect(await live.soon()).toBeUndefined();
    server.grants.set("ann", { read: ["list:b"], write: [] });
    await server.run(`UPDATE lists SET owner_id = 'bob' WHERE id = 'a'`);
    expect(await live.next()).toEqual({ kind: "end", reason: "pull" });
    expect(await live.next()).toBe("over");
  });
});

describe("live", () => {
  test("L1: a commit outside the scopes sends no frame, and the next frame still fits the device's cursor", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const live = stream(device);
    await server.run(`UPDATE todos SET title = 'Drei' WHERE id = 't3'`);
    expect(await live.soon()).toBeUndefined();
    await server.run(`UPDATE todos SET title = 'Uno' WHERE id = 't1'`);
    device.apply([page(await live.next())]);
    live.stop();
  });

  test("L2: rights are asked for again and heartbeats go out, also where the clock was set back", async () => {
    let time = 10 * 3_600_000;
    const { server, device } = await openPair({ now: () => time, heartbeatMs: 40 });
    await using _ = server;
    const live = stream(device);
    expect(await live.soon()).toBeUndefined();
    time -= 3_600_000;
    expect(await live.next()).toEqual({ kind: "heartbeat" });
    server.grants.set("ann", { read: ["list:b"], write: [] });
    time -= 3_600_000;
    expect(await live.next()).toEqual({ kind: "end", reason: "pull" });
  });

  test("U3: a stream that begins far behind has its device's lastTx, without reading those of all others", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const counted = `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 3000)`;
    await device.push(device.tx(device.insert("todos", "n1", todo)));
    await server.run(
      `${counted} INSERT INTO _sync_devices (device_id, subject, last_tx, last_seq, schema, registered_at, seen_at) SELECT 'd' || i, 's', 1, i, 'x', 0, 0 FROM c`,
    );
    await server.run(
      `${counted} INSERT INTO _sync_log (stamp, t, kind, mask) SELECT random() & 281474976710655, 0, 0, 1 FROM c`,
    );
    const all = vi.spyOn(server.database.connection, "all");
    const live = stream(device);
    const first = page(await live.next());
    const devicesRead = all.mock.calls.flatMap(([sql], i) =>
      sql.includes("_sync_devices") ? [(all.mock.results[i]?.value as readonly unknown[]).length] : [],
    );
    all.mockRestore();
    expect(first).toMatchObject({ lastTx: { number: 1 }, outcomes: [] });
    expect(Math.max(...devicesRead)).toBe(1);
    device.apply([first]);
    await device.push(device.tx(device.update("todos", "n1", { title: ["New", "Newer"] })));
    expect(page(await live.next())).toMatchObject({ lastTx: { number: 2 } });
    live.stop();
  });

  test("U3: a device's own push comes with its lastTx, and a refused one as an empty page with its outcome", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const live = stream(device);
    expect(await live.soon()).toBeUndefined();
    await device.push(device.tx(device.insert("todos", "n1", todo)));
    const first = page(await live.next());
    expect(first).toMatchObject({ lastTx: { number: 1 }, outcomes: [] });
    device.apply([first]);
    await device.push(device.tx(device.insert("todos", "n2", { ...todo, title: "forbidden" })));
    const second = page(await live.next());
    expect(second).toMatchObject({ changes: [], lastTx: { number: 2 }, outcomes: [{ number: 2, status: "rejected" }] });
    live.stop();
  });

  test("U3: what was handled between the last page and the opening is told at once", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    await device.push(device.tx(device.insert("todos", "n2", { ...todo, title: "forbidden" })));
    const live = stream(device);
    expect(page(await live.next())).toMatchObject({ changes: [], lastTx: { number: 1 }, outcomes: [{ number: 1 }] });
    live.stop();
  });

  test("U3: a refusal in another process is told too", async () => {
    const { server, device } = await openPair({
      file: `${(await import("node:os")).tmpdir()}/sync-live-${process.pid}-${Math.random()}.db`,
    });
    await using _ = server;
    const live = stream(device);
    expect(await live.soon()).toBeUndefined();
    const other = server.device("ann", { id: device.id, service: server.another() });
    Object.assign(other, { epoch: device.epoch });
    await other.push(other.tx(other.insert("todos", "n2", { ...todo, title: "forbidden" })));
    expect(page(await live.next())).toMatchObject({ changes: [], lastTx: { number: 1 } });
    live.stop();
  });

  test("L3: devices at the same place share one page and its bytes", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const devices = [device, await openDevice(server, "bob"), await openDevice(server, "cid", ["list:b"])];
    const [ann, bob, cid] = devices.map((each) => stream(each)) as [OpenStream, OpenStream, OpenStream];
    const waiting = [ann.next(), bob.next()];
    expect(await cid.soon()).toBeUndefined();
    await server.run(`UPDATE todos SET title = 'Uno' WHERE id = 't1'`);
    const [forAnn, forBob] = (await Promise.all(waiting)).map(page) as [Page, Page];
    expect(forBob).toBe(forAnn);
    expect(encodedAnswer(forBob)).toBe(encodedAnswer(forAnn));
    expect(await cid.soon()).toBeUndefined();
    for (const each of [ann, bob, cid]) each.stop();
  });

  test("U3: a shared page goes with each device's own lastTx", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const bob = await openDevice(server, "bob");
    const [forAnn, forBob] = [stream(device), stream(bob)];
    const waiting = [forAnn.next(), forBob.next()];
    await new Promise((resolve) => setTimeout(resolve, 20));
    await device.push(device.tx(device.insert("todos", "n1", todo)));
    const [mine, theirs] = (await Promise.all(waiting)).map(page) as [Page, Page];
    expect(mine.changes).toBe(theirs.changes);
    expect([mine.lastTx?.number, theirs.lastTx?.number]).toEqual([1, 0]);
    forAnn.stop();
    forBob.stop();
  });

  test("L3: devices that wrote nothing share each page, whoever else is served between them", async () => {
    const { server, device: writer } = await openPair();
    await using _ = server;
    const streams = [await openDevice(server, "bob"), writer, await openDevice(server, "cid")].map((each) =>
      stream(each),
    ) as [OpenStream, OpenStream, OpenStream];
    for (let round = 1; round <= 3; round++) {
      const waiting = streams.map((each) => each.next());
      await new Promise((resolve) => setTimeout(resolve, 20));
      await writer.push(writer.tx(writer.insert("todos", `n${round}`, todo)));
      const [bob, mine, cid] = (await Promise.all(waiting)).map(page) as [Page, Page, Page];
      expect(cid).toBe(bob);
      expect(mine.changes).toBe(bob.changes);
      expect([bob.lastTx?.number, mine.lastTx?.number]).toEqual([0, round]);
      expect(mine.from).toBe(bob.from);
    }
    for (const each of streams) each.stop();
  });

  test("a device's own changes come back to it when the others have them", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const bob = await openDevice(server, "bob");
    const order: string[] = [];
    const [own, other] = [stream(device), stream(bob)];
    const waiting = [own.next().then(() => order.push("own")), other.next().then(() => order.push("other"))];
    await new Promise((resolve) => setTimeout(resolve, 20));
    await device.push(device.tx(device.insert("todos", "n1", todo)));
    await Promise.all(waiting);
    expect(order).toEqual(["other", "own"]);
    own.stop();
    other.stop();
  });

  test("a slow reader gets one page of everything, not one for each commit", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const live = stream(device);
    expect(await live.soon()).toBeUndefined();
    await server.run(`UPDATE todos SET title = 'first' WHERE id = 't1'`);
    const first = page(await live.next());
    for (let i = 0; i < 50; i++) await server.run(`UPDATE todos SET rank = ${i} WHERE id = 't1'`);
    device.apply([first]);
    const second = page(await live.next());
    expect(second.changes).toEqual([
      { table: "todos", kind: "update", columns: ["id", "rank"], values: [["t1"], [49]] },
    ]);
    device.apply([second]);
    expect(await live.soon()).toBeUndefined();
    live.stop();
  });

  test("L2: a stream that does not fit the server's state says `pull` at once", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const { seq, stamp } = parseCursor(device.cursor as Cursor);
    const { cursor: _cursor, ...withoutCursor } = device.request();
    const requests: Partial<PullRequest>[] = [
      { held: hashScopes(["list:b"]) },
      { held: ["list:b"] },
      { baseSchema: "0123456789abcdef" },
      { cursor: formatCursor({ seq: seq + 10, stamp }) },
      { cursor: formatCursor({ seq, stamp: stamp + 1 }) },
      { epoch: "0123456789abcdef0123456789abcdef" as never },
      { wanted: ["list:b"] },
    ];
    for (const more of requests)
      expect(await stream(device, more).next(), JSON.stringify(more)).toEqual({ kind: "end", reason: "pull" });
    const abort = new AbortController();
    const opened = server.service.stream(device.caller, withoutCursor, { carries: "pages", signal: abort.signal });
    expect((await opened.next()).value).toEqual({ frame: { kind: "end", reason: "pull" } });
    expect((await server.service.stats()).streams).toBe(0);
  });

  test("I2: a server that is restored beneath an open stream ends it", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const live = stream(device);
    expect(await live.soon()).toBeUndefined();
    const { seq } = parseCursor(device.cursor as Cursor);
    await server.run(`UPDATE _sync_log SET stamp = stamp + 1 WHERE seq <= ${seq}`);
    await server.run(`UPDATE todos SET title = 'Uno' WHERE id = 't1'`);
    expect(await live.next()).toEqual({ kind: "end", reason: "pull" });
  });

  test("L2: more than a page ends the stream, for the device to pull in a round", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const live = stream(device, { limit: 5 });
    expect(await live.soon()).toBeUndefined();
    await server.run(
      `INSERT INTO todos (id, list_id, title) VALUES ${Array.from({ length: 20 }, (_, i) => `('m${i}', 'a', 'x')`).join()}`,
    );
    expect(await live.next()).toEqual({ kind: "end", reason: "pull" });
  });

  test("L2: `scopesChanged` asks again for one subject alone, and a table that does not matter asks nobody", async () => {
    const { server, device } = await openPair({ scopesDependOn: new Set(["lists"]) });
    await using _ = server;
    let asked = 0;
    const caller = { ...device.caller, scopes: () => (asked++, device.caller.scopes()) };
    const opened = server.service.stream(caller, device.request(), {
      carries: "pages",
      signal: new AbortController().signal,
    });
    const waiting = opened.next();
    await new Promise((resolve) => setTimeout(resolve, 20));
    const before = asked;
    await server.run(`UPDATE todos SET title = 'Drei' WHERE id = 't3'`);
    server.database.scopesChanged("bob");
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(asked).toBe(before);
    server.grants.set("ann", { read: ["list:b"], write: [] });
    server.database.scopesChanged("ann");
    expect((await waiting).value).toEqual({ frame: { kind: "end", reason: "pull" } });
  });

  test("L2: a right that nothing tells of is noticed within the heartbeat", async () => {
    const { server, device } = await openPair({ heartbeatMs: 40 });
    await using _ = server;
    const live = stream(device);
    expect(await live.next()).toEqual({ kind: "heartbeat" });
    server.grants.set("ann", { read: ["list:b"], write: [] });
    let frame = await live.next();
    while (frame !== "over" && frame.kind === "heartbeat") frame = await live.next();
    expect(frame).toEqual({ kind: "end", reason: "pull" });
  });

  test("a silent device is taken along, so that its cursor does not fall behind", async () => {
    const { server, device } = await openPair({ heartbeatMs: 60 });
    await using _ = server;
    const live = stream(device);
    await live.next();
    await server.run(
      `INSERT INTO todos (id, list_id, title) VALUES ${Array.from({ length: 1200 }, (_, i) => `('m${i}', 'b', 'x')`).join()}`,
    );
    let frame = await live.next();
    while (frame !== "over" && frame.kind === "heartbeat") frame = await live.next();
    expect(page(frame)).toMatchObject({ from: device.cursor, changes: [] });
    device.apply([page(frame)]);
    live.stop();
  });

  test("an `scopes` that throws ends the stream with that error, and no other stream", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    let isDown = false;
    const failing = {
      ...device.caller,
      scopes: async () => {
        if (isDown) throw new Error("The directory does not answer.");
        return device.caller.scopes();
      },
    };
    const bad = server.service.stream(failing, device.request(), {
      carries: "pages",
      signal: new AbortController().signal,
    });
    const good = stream(device);
    const waiting = [bad.next(), good.next()] as const;
    await new Promise((resolve) => setTimeout(resolve, 20));
    isDown = true;
    server.database.scopesChanged("ann");
    await expect(waiting[0]).rejects.toThrow("does not answer");
    await server.run(`UPDATE todos SET title = 'Uno' WHERE id = 't1'`);
    expect(page(await waiting[1])).toBeDefined();
    good.stop();
  });

  test("streams end with `shutdown`, those that wait and those that do not, and none hangs", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const [waits, reads, late] = [stream(device), stream(device), stream(device)];
    const waiting = waits.next();
    expect(await reads.soon()).toBeUndefined();
    await server.run(`UPDATE todos SET title = 'Uno' WHERE id = 't1'`);
    await waiting;
    await reads.next();
    const again = waits.next();
    await new Promise((resolve) => setTimeout(resolve, 20));
    server.service.close();
    expect(await again).toEqual({ kind: "end", reason: "shutdown" });
    expect(await reads.next()).toEqual({ kind: "end", reason: "shutdown" });
    expect(await late.next()).toEqual({ kind: "end", reason: "shutdown" });
    expect((await server.service.stats()).streams).toBe(0);
  });

  test("a reader that leaves, while it waits or not, leaves nothing behind", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const waits = stream(device);
    const waiting = waits.next();
    await new Promise((resolve) => setTimeout(resolve, 20));
    await waits.iterator.return?.();
    expect(await waiting).toBe("over");
    const aborted = stream(device);
    const pending = aborted.next();
    await new Promise((resolve) => setTimeout(resolve, 20));
    aborted.stop();
    expect(await pending).toBe("over");
    expect((await server.service.stats()).streams).toBe(0);
    expect(server.database.isWatched).toBe(false);
  });

  test("I1: a stream for somebody else's device is refused, and disturbs nobody", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    server.grants.set("bob", { read: ["list:a", "everyone"], write: [] });
    const live = stream(device);
    expect(await live.soon()).toBeUndefined();
    const thief = server.device("bob", { id: device.id });
    Object.assign(thief, { epoch: device.epoch, cursor: device.cursor, held: device.held });
    await expect(stream(thief).next()).rejects.toMatchObject({ code: "DEVICE_TAKEN" });
    await server.run(`UPDATE todos SET title = 'Uno' WHERE id = 't1'`);
    expect(page(await live.next())).toBeDefined();
    live.stop();
  });
});

describe("pokes", () => {
  test("L1: say that there is more, with the cursor to resume at, and nothing of what it is", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const live = stream(device, {}, "pokes");
    expect(await live.soon()).toBeUndefined();
    await server.run(`UPDATE todos SET title = 'Drei' WHERE id = 't3'`);
    expect(await live.soon()).toBeUndefined();
    await server.run(`UPDATE todos SET title = 'Uno' WHERE id = 't1'`);
    expect(await live.next()).toEqual({ kind: "poke" });
    await device.push(device.tx(device.insert("todos", "n2", { ...todo, title: "forbidden" })));
    expect(await live.next()).toEqual({ kind: "poke" });
    live.stop();
  });

  test("L2: a change of rights, a gap, or a state that does not fit is a poke, and the stream goes on", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const live = stream(device, { held: hashScopes(["list:b"]) }, "pokes");
    expect(await live.next()).toEqual({ kind: "poke" });
    expect(await live.soon()).toBeUndefined();
    server.grants.set("ann", { read: ["list:b"], write: [] });
    server.database.scopesChanged("ann");
    expect(await live.next()).toEqual({ kind: "poke" });
    await server.run(`UPDATE todos SET title = 'Drei' WHERE id = 't3'`);
    expect(await live.next()).toEqual({ kind: "poke" });
    live.stop();
  });
});
