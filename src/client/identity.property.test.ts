/**
 * Random histories of everything that identity is about (rules I2–I5), against the simplest oracle there is: every transaction
 * inserts one row of its own, nobody deletes any, so in the end each one that a device still knows of is on the server, or its
 * outcome was reported. Where transactions are kept long enough, nothing is ever reported as lost; where they are not, a loss that
 * one copy of a device has reported need not be reported by another one.
 */

import { expect, test } from "vitest";
import fc from "fast-check";
import {
  expectBase,
  openSeededWorld,
  settle,
  tags,
  todos,
  type TestDevice,
  type TestWorld,
} from "../testing/device-world.ts";
import { checkAsyncProperty } from "../testing/check-property.ts";
import { transactionId } from "./outcomes.ts";

type Step =
  | { readonly kind: "write" | "forbidden" | "sync" | "copy" | "save" | "roll-back" | "kill"; readonly device: number }
  | { readonly kind: "lose-answer"; readonly device: number; readonly call: "push" | "pull" }
  | { readonly kind: "back-up" | "restore" | "server" | "forget" | "days" };

const day = 24 * 60 * 60 * 1000;
/** Each step may let a day go by. */
const maxDays = 40;

const device = fc.nat({ max: 3 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("write" as const), device }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("forbidden" as const), device }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("sync" as const), device }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("lose-answer" as const),
      device,
      call: fc.constantFrom("push" as const, "pull" as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constantFrom("copy" as const, "save" as const, "roll-back" as const), device }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("kill" as const), device }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("back-up" as const, "server" as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("restore" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("forget" as const, "days" as const) }) },
);

/** A device file in use, and what was written to it: the row of each transaction, by the transaction's id. */
interface Node {
  device: TestDevice;
  readonly written: Map<string, string>;
  failing: "push" | "pull" | undefined;
}

const isThere = (world: TestWorld, row: string): boolean =>
  world.server.raw
    .prepare("SELECT 1 FROM tags WHERE id = ? UNION ALL SELECT 1 FROM todos WHERE id = ?")
    .get(row, row) !== undefined;

async function runHistory(steps: readonly Step[], keepSentMs: number): Promise<void> {
  await using world = await openSeededWorld();
  world.rights["ann"] = { read: ["list:a", "list:b", "everyone"], write: ["everyone"] };
  const nodes: Node[] = [];
  let hasLost = false;
  const add = (from: Buffer | undefined, written: ReadonlyMap<string, string>): void => {
    const node: Node = {
      written: new Map(written),
      failing: undefined,
      device: world.device("ann", {
        keepSentMs,
        ...(from ? { from } : {}),
        wrap: (transport) => ({
          ...transport,
          push: async (request, options) => lose(await transport.push(request, options), "push"),
          pull: async (request, options) => lose(await transport.pull(request, options), "pull"),
        }),
      }),
    };
    const lose = <T>(answer: T, call: "push" | "pull"): T => {
      if (node.failing !== call) return answer;
      node.failing = undefined;
      throw new Error("The answer is lost.");
    };
    node.device.client.outcomes.subscribe(({ status }) => (hasLost ||= status === "lost"));
    nodes.push(node);
  };
  add(undefined, new Map());
  add(undefined, new Map());
  for (const { device: each } of nodes) await each.client.sync();
  const backups: Buffer[] = [world.server.raw.serialize()];
  const images = new Map<Node, { readonly image: Buffer; readonly written: ReadonlyMap<string, string> }>();
  let next = 0;
  const writeRow = (node: Node, isAllowed: boolean): void => {
    const row = `row ${++next}`;
    if (isAllowed) node.device.db.insert(tags).values({ id: row, name: row }).run();
    else node.device.db.insert(todos).values({ id: row, listId: "a", title: row }).run();
    const stamp = node.device.raw.prepare("SELECT stamp FROM _sync_log WHERE t = 0 ORDER BY seq DESC LIMIT 1").pluck();
    node.written.set(transactionId(Number(stamp.get())), row);
  };
  for (const each of steps) {
    const node = "device" in each ? nodes[each.device % nodes.length] : undefined;
    switch (each.kind) {
      case "write":
      case "forbidden":
        if (node) writeRow(node, each.kind === "write");
        break;
      case "sync":
        await node?.device.client.sync();
        break;
      case "lose-answer":
        if (node) node.failing = each.call;
        await node?.device.client.sync().catch(() => undefined);
        if (node) node.failing = undefined;
        break;
      case "copy":
        if (node && nodes.length < 4) add(node.device.raw.serialize(), node.written);
        break;
      case "save":
        if (node) images.set(node, { image: node.device.raw.serialize(), written: new Map(node.written) });
        break;
      case "kill":
      case "roll-back": {
        if (!node) break;
        const saved = images.get(node);
        const image = each.kind === "kill" ? node.device.raw.serialize() : saved?.image;
        if (!image) break;
        await node.device.client.close();
        nodes.splice(nodes.indexOf(node), 1);
        images.delete(node);
        add(image, each.kind === "kill" ? node.written : (saved?.written ?? new Map()));
        break;
      }
      case "back-up":
        backups.push(world.server.raw.serialize());
        break;
      case "restore":
        await world.replaceServer(backups[next % backups.length]);
        break;
      case "server":
        world.server.db
          .insert(tags)
          .values({ id: `server ${++next}`, name: "by the server" })
          .run();
        break;
      case "forget":
        world.server.raw.exec("DELETE FROM _sync_devices");
        break;
      case "days":
        await world.clock.advance(day, () => settle());
    }
  }
  for (let round = 0; round < 3; round++) for (const each of nodes) await each.device.client.sync();
  await settle();
  if (keepSentMs > maxDays * day) expect(hasLost).toBe(false);
  for (const { device: each, written } of nodes) {
    expect(await each.client.pending.list()).toEqual([]);
    expect(each.client.state.pending).toBe(0);
    await expectBase(world, each);
    const outcomes = await each.client.outcomes.list();
    const rejected = new Set(outcomes.flatMap(({ id, status }) => (status === "rejected" ? [id] : [])));
    expect(new Set(outcomes.map(({ id }) => id)).size).toBe(outcomes.length);
    for (const [id, row] of written) {
      const fate = { row, isThere: isThere(world, row), isReported: rejected.has(id) || hasLost };
      expect(fate, `${row} vanished`).toSatisfy(() => fate.isThere || fate.isReported);
      expect(fate, `${row} is there and was reported as rejected`).toSatisfy(() => !(fate.isThere && rejected.has(id)));
    }
  }
}

test("I2, I3, I4, I5: what a device has written is on the server in the end, or was reported", async () => {
  await checkAsyncProperty(
    fc.asyncProperty(
      fc.array(step, { minLength: 5, maxLength: maxDays }),
      fc.constantFrom(0, 2 * day, 90 * day),
      (steps, keepSentMs) => runHistory(steps, keepSentMs),
    ),
    20,
  );
}, 300_000);
