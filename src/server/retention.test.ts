import { describe, expect, test, vi } from "vitest";
import { lastWriteWins } from "../protocol/conflict.ts";
import { hlcNow } from "../protocol/hlc.ts";
import { type Cursor, formatCursor, parseCursor } from "../protocol/ids.ts";
import type { Page, PullAnswer } from "../protocol/pull.ts";
import { transact } from "../plugin/core.ts";
import { readHead, readHorizon, trimLog } from "../plugin/oplog.ts";
import type { HandDevice } from "../testing/hand-device.ts";
import {
  drivers,
  expectBase,
  newTodo,
  one,
  openPair,
  openServer,
  pageOf,
  type ServerFixture,
} from "../testing/server-fixture.ts";
import { createRetention, readRetention } from "./retention.ts";
import { readRetentionTotals } from "./retention-totals.ts";

/** Trims up to a cursor, or all. */
async function trim(server: ServerFixture, upTo?: Cursor): Promise<void> {
  const { database } = server;
  const seq = upTo === undefined ? Number.MAX_SAFE_INTEGER : parseCursor(upTo).seq;
  await transact(database.connection, "write", () => trimLog(database, seq, 1_000_000));
}
const restarts = (answer: PullAnswer): string => (answer.kind === "reset" ? `reset ${answer.reason}` : answer.kind);

describe.each(drivers)("a log that was trimmed, over %s", (driver) => {
  test("I2: a device whose cursor is at the horizon goes on, one below it is reset, and deleted rows do not come back", async () => {
    const { server, device } = await openPair({ driver });
    await using _ = server;
    const late = server.device("ann");
    await late.handshake();
    await late.pull();
    await server.run(`DELETE FROM todos WHERE id = 't2'`);
    await device.pull();
    await server.run(`UPDATE todos SET title = 'x' WHERE id = 't1'`);
    await trim(server, device.cursor);
    expect(await device.pull()).toEqual(["page"]);
    await expectBase(server, device);
    expect(await late.pull()).toEqual(["reset CURSOR_EXPIRED", "page"]);
    expect(late.row("todos", "t2")).toBeUndefined();
    await expectBase(server, late);
  });

  test("I2: a device that was away keeps its queue: pushed after the reset, it is judged by value", async () => {
    const { server, device } = await openPair({ driver });
    await using _ = server;
    const tx = device.tx(
      device.update("todos", "t1", { title: ["One", "Uno"] }),
      device.update("todos", "t2", { title: ["Two", "Due"] }),
      device.insert("todos", "n1", newTodo),
    );
    await server.run(`DELETE FROM todos WHERE id = 't2'`);
    await trim(server);
    expect(await device.pull()).toEqual(["reset CURSOR_EXPIRED", "page"]);
    expect(await device.sync(tx)).toMatchObject([{ status: "merged", number: 1, conflicts: [{ key: ["t2"] }] }]);
    expect(device.row("todos", "t2")).toBeUndefined();
    expect(device.row("todos", "t1")).toMatchObject({ title: "Uno" });
    await expectBase(server, device);
  });

  test("R3: a round whose position falls below the horizon restarts, in each of its phases; others go on", async () => {
    const { server, device } = await openPair({ driver });
    await using _ = server;
    for (let i = 0; i < 12; i++)
      await server.run(`INSERT INTO todos (id, list_id, title) VALUES ('a${i}', 'a', 'x'), ('b${i}', 'b', 'x')`);
    const device2 = server.device("ann");
    await device2.handshake();
    server.grants.set("ann", { read: ["list:a", "list:b", "everyone"], write: [] });
    const walk = async (from: HandDevice, stopIn: string): Promise<Page["round"]> => {
      let round: Page["round"];
      for (let i = 0; i < 100; i++) {
        const page = pageOf(await from.ask({ limit: 4, held: from.held, ...(round === undefined ? {} : { round }) }));
        ({ round } = page);
        if (round === undefined || round.phase === stopIn) return round;
      }
      throw new Error("The round does not end.");
    };
    for (const phase of ["log0", "snapshot"]) {
      const round = await walk(device, phase);
      if (round?.phase !== phase) throw new Error(`No page ends in ${phase}.`);
      await server.run(`UPDATE lists SET name = '${phase}' WHERE id = 'a'`);
      const at = phase === "snapshot" ? round.s0 : round.next;
      const [[stamp] = []] = await server.all(`SELECT stamp FROM _sync_log WHERE seq = ${at}`);
      const here = formatCursor({ seq: at, stamp: Number(stamp) });
      const ask = async () => restarts(await device.ask({ limit: 4, held: device.held, round }));
      const horizon = await one(server, `SELECT v FROM _sync_meta WHERE k = 'horizon'`);
      if (phase === "snapshot") {
        // Its cursor is below, but its position is not: what the device has staged is still good.
        await trim(server, here);
        expect(await ask()).toBe("reset CURSOR_EXPIRED");
        const fresh = await walk(device2, "snapshot");
        await trim(server, fresh?.head);
        expect(restarts(await device2.ask({ limit: 4, held: [], round: fresh as never }))).toBe("page");
        await server.run(`UPDATE lists SET name = 'more' WHERE id = 'a'`);
        await trim(server);
        expect(restarts(await device2.ask({ limit: 4, held: [], round: fresh as never }))).toBe("restart");
      } else {
        expect(await ask()).toBe("page");
        expect(await one(server, `SELECT v FROM _sync_meta WHERE k = 'horizon'`)).toBe(horizon);
      }
    }
    await device.pull({ limit: 4 });
    await device2.pull({ limit: 4 });
    await expectBase(server, device);
    await expectBase(server, device2);
  });

  test("P11: a device's write from after the horizon wins over a value from below it, one from before it does not", async () => {
    let time = 1_000_000;
    const { server, device } = await openPair({ driver, now: () => time, conflict: lastWriteWins() });
    await using _ = server;
    const at = (ms: number) => hlcNow(0, ms);
    time = 2_000_000;
    await server.run(`UPDATE todos SET title = 'server', notes = 'server' WHERE id = 't1'`);
    await server.run(`DELETE FROM todos WHERE id = 't2'`);
    await trim(server);
    time = 3_000_000;
    const seen = device.row("todos", "t2") ?? {};
    const before = { ...device.tx(device.update("todos", "t1", { title: ["One", "old"] })), hlc: at(1_500_000) };
    const gone = { ...device.tx(device.update("todos", "t2", { title: ["Two", "old"] }, seen)), hlc: at(1_500_000) };
    const since = { ...device.tx(device.update("todos", "t1", { notes: ["n1", "new"] })), hlc: at(2_500_000) };
    await device.push(before, gone, since);
    expect(await server.all(`SELECT title, notes FROM todos WHERE id = 't1'`)).toEqual([["server", "new"]]);
    expect(await one(server, `SELECT count(*) FROM todos WHERE id = 't2'`)).toBe(0);
    const back = { ...device.tx(device.update("todos", "t2", { title: ["Two", "back"] }, seen)), hlc: at(2_600_000) };
    await device.push(back);
    expect(await one(server, `SELECT title FROM todos WHERE id = 't2'`)).toBe("back");
  });

  test("the log is trimmed by age and by count in the background of requests, and `stats` tells of it", async () => {
    let time = 1_000_000;
    const retention = { maxAgeMs: 100_000, maxEntries: 50 };
    const { server, device } = await openPair({ driver, now: () => time, retention });
    await using _ = server;
    const horizon = async () => parseCursor((await server.service.stats()).horizon).seq;
    const trimmed = readRetentionTotals(time).trimmed;
    const start = await horizon();
    // Younger than the limit: it stays, however often somebody asks.
    for (let i = 0; i < 10; i++) {
      time += 9_000;
      await device.pull();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(await horizon()).toBe(start);
    const { seq } = parseCursor(device.cursor as Cursor);
    time += 200_000;
    await device.pull();
    await vi.waitFor(async () => expect(await horizon()).toBe(seq));
    expect(await device.pull()).toEqual(["page"]);
    // By count, at once, whatever the clock says.
    const many = Array.from({ length: 80 }, (_value, i) => device.tx(device.insert("todos", `n${i}`, newTodo)));
    for (const tx of many) await device.push(tx);
    await vi.waitFor(async () => {
      await device.pull();
      expect((await server.service.stats()).logEntries).toBeLessThanOrEqual(52);
    });
    await expectBase(server, device);
    expect(readRetentionTotals(time).trimmed).toBeGreaterThan(trimmed);
    expect((await server.service.stats()).horizonAgeMs).toBeDefined();
    expect(server.errors).toEqual([]);
  });
});

describe("live", () => {
  test("L2: a stream whose place falls below the horizon ends, and its device pulls", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const abort = new AbortController();
    const stream = server.service.stream(device.caller, device.request(), { carries: "pages", signal: abort.signal });
    const first = stream.next();
    await new Promise((resolve) => setTimeout(resolve, 50));
    // Its reader has taken nothing since: the stream stands where it stood.
    await server.run(`UPDATE todos SET title = 'x' WHERE id = 't1'`);
    expect((await first).value?.frame.kind).toBe("page");
    await server.run(`UPDATE todos SET title = 'y' WHERE id = 't1'`);
    await server.run(`UPDATE todos SET title = 'z' WHERE id = 't1'`);
    await trim(server);
    expect((await stream.next()).value?.frame).toEqual({ kind: "end", reason: "pull" });
    expect(await device.pull()).toEqual(["reset CURSOR_EXPIRED", "page"]);
    await expectBase(server, device);
  });

  test("L2: a stream that is at the head goes on beside a trim", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const abort = new AbortController();
    const stream = server.service.stream(device.caller, device.request(), { carries: "pages", signal: abort.signal });
    const first = stream.next();
    await new Promise((resolve) => setTimeout(resolve, 50));
    // Nothing of its scopes: its device's cursor stays, its place does not.
    await server.run(`UPDATE todos SET title = 'x' WHERE id = 't3'`);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await trim(server);
    await server.run(`UPDATE todos SET title = 'y' WHERE id = 't1'`);
    const frame = (await first).value?.frame;
    if (frame?.kind !== "page") throw new Error("No page came.");
    device.apply([frame]);
    await expectBase(server, device);
    abort.abort();
  });

  test("L1: a device that hears nothing for an hour is taken along, so that its cursor stays above the horizon", async () => {
    let time = 1_000_000;
    const { server, device } = await openPair({ now: () => time, heartbeatMs: 40 });
    await using _ = server;
    const abort = new AbortController();
    const stream = server.service.stream(device.caller, device.request(), { carries: "pages", signal: abort.signal });
    const first = stream.next();
    await new Promise((resolve) => setTimeout(resolve, 30));
    await server.run(`UPDATE todos SET title = 'x' WHERE id = 't3'`);
    await new Promise((resolve) => setTimeout(resolve, 30));
    time += 3_600_000;
    const frame = (await first).value?.frame;
    expect(frame).toMatchObject({ kind: "page", changes: [] });
    abort.abort();
  });
});

describe("rights", () => {
  test("U1: rights from before a trim are asked for again: what has changed them may be gone from the log", async () => {
    const server = await openServer({
      scopesDependOn: new Set(["lists"]),
      sql: [`INSERT INTO lists VALUES ('a', 'A', NULL)`],
    });
    await using _ = server;
    server.grants.set("ann", { read: ["list:a"], write: [] });
    let asked = 0;
    const device = server.device("ann", {
      scopes: async () => {
        asked++;
        if (asked === 1) {
          await server.run(`UPDATE lists SET name = 'revoked'`);
          await server.run(`INSERT INTO things (id, kind) VALUES (x'01', 'a')`);
          await trim(server);
          return { read: new Set(["list:a"]), write: new Set() };
        }
        return { read: new Set(), write: new Set() };
      },
    });
    await device.handshake();
    expect(pageOf(await device.ask({ held: [] })).scopes).toEqual([]);
    expect(asked).toBe(2);
  });
});

describe("upkeep", () => {
  test.each([
    [{ maxAgeMs: 0 }, "maxAgeMs"],
    [{ maxAgeMs: Number.NaN }, "maxAgeMs"],
    [{ maxAgeMs: "30d" as never }, "maxAgeMs"],
    [{ maxEntries: -1 }, "maxEntries"],
    [{ maxEntries: 1.5 }, "maxEntries"],
  ])("`retention` %j is refused by name", (options, name) => {
    expect(() => readRetention(options)).toThrow(`retention.${name}`);
  });

  test("`Infinity` keeps everything, and then nothing is looked at", async () => {
    let time = 0;
    const retention = { maxAgeMs: Infinity, maxEntries: Infinity };
    const { server, device } = await openPair({ now: () => time, retention });
    await using _ = server;
    time = 1e12;
    await device.pull();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await one(server, `SELECT count(*) FROM _sync_meta WHERE k = 'ages'`)).toBe(0);
  });

  test("a look that finds nothing new writes nothing", async () => {
    let time = 1_000_000;
    const { server } = await openPair({ now: () => time });
    await using _ = server;
    const { database } = server;
    const retention = createRetention({
      database,
      retention: readRetention(),
      onError: (error) => expect(error).toBeUndefined(),
    });
    await retention.run();
    const changes = await one(server, "SELECT total_changes()");
    time += 24 * 3_600_000;
    await retention.run();
    expect(await one(server, "SELECT total_changes()")).toBe(changes);
  });

  test("`stats` counts a reset for each fresh snapshot that a device is sent to take or says why it takes", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const resets = async () => (await server.service.stats()).resets;
    const because = "CHECKSUM_MISMATCH" as const;
    // None of these is a fresh snapshot that begins.
    await device.pull({ because });
    expect(await resets()).toEqual({});
    device.cursor = undefined;
    device.limit = 1;
    await device.pull({ because });
    expect(device.pages.length).toBeGreaterThan(1);
    expect(await resets()).toEqual({ CHECKSUM_MISMATCH: 1 });
    await server.run(`UPDATE todos SET title = 'x' WHERE id = 't1'`);
    await trim(server);
    expect(await device.pull()).toContain("reset CURSOR_EXPIRED");
    expect(await resets()).toEqual({ CHECKSUM_MISMATCH: 1, CURSOR_EXPIRED: 1 });
  });

  test("a clock that was set back does not keep the log from being looked at", async () => {
    let time = 1e12;
    const { server } = await openPair({ now: () => time });
    await using _ = server;
    const retention = createRetention({
      database: server.database,
      retention: readRetention(),
      onError: (error) => expect(error).toBeUndefined(),
    });
    await retention.run();
    const looks = vi.spyOn(retention, "run");
    retention.noticed();
    expect(looks).not.toHaveBeenCalled();
    time -= 365 * 24 * 3_600_000;
    retention.noticed();
    expect(looks).toHaveBeenCalledOnce();
    await new Promise((resolve) => setTimeout(resolve, 20));
  });

  test("what fails is told, and a server that is closed trims no more", async () => {
    let time = 1_000_000;
    const { server } = await openPair({ now: () => time });
    await using _ = server;
    const { database } = server;
    const errors: unknown[] = [];
    const retention = createRetention({
      database,
      retention: readRetention({ maxEntries: 2 }),
      onError: (error) => errors.push(error),
    });
    await server.run(`CREATE TRIGGER broken BEFORE DELETE ON _sync_log BEGIN SELECT RAISE(ABORT, 'broken'); END`);
    await retention.run();
    expect(errors).toHaveLength(1);
    await server.run(`DROP TRIGGER broken`);
    const horizon = await transact(database.connection, "read", readHorizon);
    retention.stop();
    await retention.run();
    time += 1e12;
    retention.noticed(1e9);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await transact(database.connection, "read", readHorizon)).toEqual(horizon);
    expect((await transact(database.connection, "read", readHead)).seq).toBeGreaterThan(horizon.seq);
  });

  test("P5: notes of devices that have been away for too long go; device records, outcomes and refused keys stay", async () => {
    let time = 1_000_000;
    const more = [
      `CREATE TRIGGER shout AFTER INSERT ON todos BEGIN UPDATE todos SET title = upper(title) WHERE id = NEW.id; END`,
    ];
    const { server, device } = await openPair({ now: () => time });
    await using _ = server;
    for (const statement of more) await server.run(statement);
    const other = server.device("ann");
    await other.handshake();
    await other.pull();
    await device.push(
      device.tx(device.insert("todos", "n1", { ...newTodo, title: "low" })),
      device.tx(device.insert("todos", "n2", { ...newTodo, title: "forbidden" })),
    );
    time += 50_000;
    await other.push(other.tx(other.insert("todos", "n3", { ...newTodo, title: "low" })));
    const count = (table: string) => one(server, `SELECT count(*) FROM _sync_${table}`);
    expect([await count("notes"), await count("outcomes"), await count("rejected_keys")]).toEqual([2, 1, 1]);
    const retention = createRetention({
      database: server.database,
      retention: readRetention({ maxAgeMs: 60_000 }),
      onError: (error) => expect(error).toBeUndefined(),
    });
    time += 20_000;
    await retention.run();
    expect([
      await count("notes"),
      await count("outcomes"),
      await count("rejected_keys"),
      await count("devices"),
    ]).toEqual([1, 1, 1, 2]);
    expect(await one(server, `SELECT device_id FROM _sync_notes`)).toBe(other.id);
  });
});
