import { expect, test } from "vitest";
import { bounds } from "../protocol/bounds.ts";
import { clientWins, custom } from "../protocol/conflict.ts";
import { newTodo, openPair, type ServerFixtureOptions } from "../testing/server-fixture.ts";
import type { AuthorizeTransaction } from "./authorize.ts";
import type { Refusal } from "./operations.ts";

type Judge = (transaction: AuthorizeTransaction) => Refusal | undefined;

async function openWith(judge: Judge, options: ServerFixtureOptions = {}) {
  const { server, device } = await openPair(options);
  const seen: AuthorizeTransaction[] = [];
  const authorize = async (transaction: AuthorizeTransaction) => {
    seen.push(transaction);
    return judge(transaction);
  };
  return { server, device: Object.assign(device, { caller: server.caller("ann", { authorize }) }), seen };
}

const noInserts: Judge = ({ operations }) =>
  operations.some(({ kind }) => kind === "insert") ? { code: "NOT_AUTHORIZED", message: "No new todos." } : undefined;
const wholeRow = { ...newTodo, title: "Seen", rank: -1000, createdBy: "boss" };

test("P6: an update that brings a whole row back is asked about again, as the insert that it is", async () => {
  const { server, device, seen } = await openWith(noInserts, { conflict: clientWins() });
  await using _ = server;
  const forged = device.update("todos", "never", { notes: [null, "x"] }, wholeRow);
  const outcomes = await device.sync(
    device.tx(device.update("todos", "t1", { notes: ["n1", "y"] })),
    device.tx(forged),
    device.tx(device.update("todos", "t1", { notes: ["y", "z"] })),
  );
  expect(outcomes).toMatchObject([{ number: 2, code: "NOT_AUTHORIZED", message: "No new todos." }]);
  expect(seen.map(({ number }) => number)).toEqual([1, 2, 3, 2]);
  const { createdBy: _createdBy, ...values } = wholeRow;
  expect(seen.at(-1)?.operations).toMatchObject([
    { table: "todos", kind: "insert", key: { id: "never" }, values: { ...values, done: false, notes: "x" } },
  ]);
  expect(device.row("todos", "never")).toBeUndefined();
  expect(device.row("todos", "t1")).toMatchObject({ notes: "z" });
});

test("P6: a row that is allowed to come back does, and one that is not is not by a resolver's own row", async () => {
  for (const [judge, title] of [
    [() => undefined, "Seen!"],
    [noInserts, undefined],
  ] as const) {
    const { server, device } = await openWith(judge, {
      conflict: custom(({ client }) => client && { ...client, title: `${client.title}!` }),
    });
    await using _ = server;
    await device.sync(device.tx(device.update("todos", "never", { notes: [null, "x"] }, wholeRow)));
    expect(device.row("todos", "never")?.["title"]).toBe(title);
  }
});

test("P12: an `authorize` that fails at the second question changes nothing of its transaction", async () => {
  const { server, device } = await openWith(
    ({ operations }) => {
      if (operations[0]?.kind === "insert") throw new Error("down");
      return undefined;
    },
    { conflict: clientWins() },
  );
  await using _ = server;
  const first = device.tx(device.update("todos", "t1", { notes: ["n1", "y"] }));
  const second = device.tx(device.update("todos", "never", { notes: [null, "x"] }, wholeRow));
  await expect(device.push(first, second)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  await device.pull();
  expect(device.lastTx.number).toBe(1);
  expect(device.outcomes).toEqual([]);
});

test("P6: read-only columns of a row that comes back are not the device's to give", async () => {
  for (const conflict of [clientWins(), custom(({ base, client }) => ({ ...base, ...client }) as never)]) {
    const { server, device } = await openPair({ conflict });
    await using _ = server;
    expect(
      await device.sync(device.tx(device.update("todos", "never", { notes: [null, "x"] }, wholeRow))),
    ).toMatchObject([{ status: "merged" }]);
    expect(device.row("todos", "never")).toMatchObject({ rank: -1000, createdBy: null });
  }
});

test("an answer with a code that devices do not know is a mistake of the app: nothing is handled, and it is told", async () => {
  const { server, device } = await openWith(() => ({ code: "NOT_ALLOWED" as never, message: "typo" }));
  await using _ = server;
  await expect(device.push(device.tx(device.insert("todos", "n1", newTodo)))).rejects.toMatchObject({
    code: "INVALID_CONFIG",
  });
  expect(server.errors).toMatchObject([{ code: "INVALID_CONFIG" }]);
  await device.pull();
  expect([device.lastTx.number, device.outcomes]).toEqual([0, []]);
});

test("a message of the app is cut to what an outcome may hold", async () => {
  const { server, device } = await openWith(() => ({ code: "NOT_AUTHORIZED", message: "x".repeat(10_000) }), {
    check: () => "y".repeat(10_000),
  });
  await using _ = server;
  const insert = device.insert("todos", "n1", newTodo);
  const [byAuthorize] = await device.sync(device.tx(insert));
  const [byCheck] = await Object.assign(device, { caller: server.caller("ann") }).sync(device.tx(insert));
  expect(byAuthorize).toMatchObject({ code: "NOT_AUTHORIZED", message: "x".repeat(bounds.message) });
  expect(byCheck).toMatchObject({ message: "y".repeat(bounds.message) });
});
