import { expect, test } from "vitest";
import { run, transact } from "../plugin/core.ts";
import { openPair, openServer } from "../testing/server-fixture.ts";
import { hashScopes } from "../protocol/hash.ts";
import type { LiveFrame } from "../protocol/live.ts";
import type { Rights } from "./scopes.ts";

/** A server on which another process throws Ann out and writes a secret, when `attack` says so. */
async function openAttacked() {
  const { server, device } = await openPair({ scopesDependOn: new Set(["lists"]) });
  /** Nobody in this process is told of what is written past the app's database. */
  const attack = async (): Promise<void> => {
    server.grants.set("ann", { read: ["everyone"], write: [] });
    await transact(server.database.connection, "write", function* () {
      yield* run("UPDATE lists SET owner_id = 'bob' WHERE id = 'a'");
      yield* run("UPDATE todos SET title = 'SECRET' WHERE id = 't1'");
    });
  };
  let whileAsked: (() => Promise<void>) | undefined;
  let asked = 0;
  const caller = {
    ...device.caller,
    scopes: async (): Promise<Rights> => {
      asked++;
      const rights = await device.caller.scopes();
      const act = whileAsked;
      whileAsked = undefined;
      await act?.();
      return rights;
    },
  };
  const open = () => {
    const signal = new AbortController().signal;
    const iterator = server.service.stream(caller, device.request(), { carries: "pages", signal });
    return async (): Promise<LiveFrame | undefined> => (await iterator.next()).value?.frame;
  };
  return {
    server,
    device,
    open,
    attack,
    attackWhileAsked: (): void => void (whileAsked = attack),
    asked: () => asked,
  };
}

const end = { kind: "end", reason: "pull" };
const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

test("L2: a right that is lost while a stream asks for it is lost: nothing written since goes out", async () => {
  const { server, open, attackWhileAsked } = await openAttacked();
  await using _ = server;
  attackWhileAsked();
  expect(await open()()).toEqual(end);
});

test("L2: a right that another process takes is lost before anything of its commit goes out", async () => {
  const { server, open, attack } = await openAttacked();
  await using _ = server;
  const next = open();
  const waiting = next();
  await turn();
  await attack();
  // What this process hears of has nothing to do with rights.
  await server.run(`UPDATE todos SET notes = 'n2' WHERE id = 't2'`);
  expect(await waiting).toEqual(end);
});

test("L2: a right that is lost while a stream asks again is lost", async () => {
  const { server, open, attackWhileAsked } = await openAttacked();
  await using _ = server;
  const waiting = open()();
  await turn();
  attackWhileAsked();
  server.database.scopesChanged("ann");
  await server.run(`UPDATE todos SET notes = 'n2' WHERE id = 't2'`);
  expect(await waiting).toEqual(end);
});

test("L2: a stream whose rights still hold is asked about once more, and goes on", async () => {
  const { server, device, open, asked } = await openAttacked();
  await using _ = server;
  const waiting = open()();
  await turn();
  await transact(server.database.connection, "write", () => run("UPDATE lists SET name = 'AA' WHERE id = 'a'"));
  await server.run(`UPDATE todos SET notes = 'n2' WHERE id = 't2'`);
  const frame = await waiting;
  if (frame?.kind !== "page") throw new Error(`Not a page but ${JSON.stringify(frame)}.`);
  device.apply([frame]);
  expect(device.row("todos", "t2")).toMatchObject({ notes: "n2" });
  expect(device.row("lists", "a")).toMatchObject({ name: "AA" });
  expect(asked()).toBe(2);
});

test("L3: a page is shared by the same scopes alone, not by others that have the same hash", async () => {
  // Found in five minutes on one core; an app's ids may be made on devices, so anybody may name such a list.
  const [mine, theirs] = ["a57111d04b9aa102", "0d18e93cbc1f25d2"] as const;
  expect(hashScopes([`list:${mine}`])).toBe(hashScopes([`list:${theirs}`]));
  await using server = await openServer({
    sql: [`INSERT INTO lists VALUES ('${mine}', 'Mine', NULL), ('${theirs}', 'Theirs', NULL)`],
  });
  const live = async (subject: string, list: string): Promise<AsyncIterator<{ readonly frame: LiveFrame }>> => {
    server.grants.set(subject, { read: [`list:${list}`], write: [] });
    const device = server.device(subject);
    await device.handshake();
    await device.pull();
    const { signal } = new AbortController();
    return server.service.stream(device.caller, device.request(), { carries: "pages", signal });
  };
  const bob = (await live("bob", theirs)).next();
  const ann = (await live("ann", mine)).next();
  await turn();
  await server.run(`INSERT INTO todos (id, list_id, title) VALUES ('t1', '${theirs}', 'Secret')`);
  expect((await bob).value?.frame).toMatchObject({ kind: "page", changes: [{ table: "todos" }] });
  await server.run(`INSERT INTO todos (id, list_id, title) VALUES ('t2', '${mine}', 'Open')`);
  const { frame } = (await ann).value ?? {};
  expect(frame).toMatchObject({ kind: "page", changes: [{ table: "todos" }] });
  expect(JSON.stringify(frame)).toContain("Open");
  expect(JSON.stringify(frame)).not.toContain("Secret");
});

test("A1: a stream is not opened for a list of scopes that only has the hash of those held", async () => {
  await using server = await openServer({ sql: [`INSERT INTO lists VALUES ('a57111d04b9aa102', 'Mine', NULL)`] });
  server.grants.set("ann", { read: ["list:a57111d04b9aa102"], write: [] });
  const device = server.device("ann");
  await device.handshake();
  await device.pull();
  const open = (held: readonly string[]): AsyncIterator<{ readonly frame: LiveFrame }> =>
    server.service.stream(device.caller, device.request({ held }), {
      carries: "pages",
      signal: new AbortController().signal,
    });
  expect((await open(["list:0d18e93cbc1f25d2"]).next()).value?.frame).toEqual(end);
  const fitting = open(["list:a57111d04b9aa102"]).next();
  await turn();
  await server.run(`INSERT INTO todos (id, list_id, title) VALUES ('t1', 'a57111d04b9aa102', 'Open')`);
  expect((await fitting).value?.frame).toMatchObject({ kind: "page" });
});

test("L2: a right that is changed for another with the same hash ends the stream", async () => {
  await using server = await openServer({ sql: [`INSERT INTO lists VALUES ('a57111d04b9aa102', 'Mine', NULL)`] });
  server.grants.set("ann", { read: ["list:a57111d04b9aa102"], write: [] });
  const device = server.device("ann");
  await device.handshake();
  await device.pull();
  const { signal } = new AbortController();
  const frame = server.service.stream(device.caller, device.request(), { carries: "pages", signal }).next();
  await turn();
  server.grants.set("ann", { read: ["list:0d18e93cbc1f25d2"], write: [] });
  server.database.scopesChanged("ann");
  expect((await frame).value?.frame).toEqual(end);
});
