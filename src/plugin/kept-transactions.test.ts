import { expect, test } from "vitest";
import { capture, lists, type Captured, type schema } from "../testing/capture-fixture.ts";
import type { Core } from "./core.ts";
import {
  clearTransactions,
  findTransaction,
  keepTransactions,
  lastTransaction,
  noteKeptStatus,
  pendingCount,
  pruneKept,
  readTransactions,
  takeBackTransactions,
  voidTransactions,
} from "./device-log.ts";

type It = Captured<typeof schema>;

function write<T>(it: It, core: Core<T>): T {
  return it.connection.transaction("write", () => it.run(core));
}
const insert = (it: It, ...ids: readonly string[]): void => {
  for (const id of ids) it.db.insert(lists).values({ id }).run();
};
/** The queue after a number: `number` and what is written, nothing for a void one. */
const queue = (it: It, after: number): readonly unknown[] =>
  it
    .run(readTransactions(it.sync, { after, limit: 100 }))
    .map(({ number, entries }) => [number, ...entries.map(({ key }) => key[0])]);
const leave = (it: It, upTo: number, nowMs: number): void => {
  const last = it.run(readTransactions(it.sync, { after: upTo - 1, limit: 1 }))[0];
  if (last) write(it, keepTransactions(last, nowMs));
};
const rows = (it: It): unknown => it.raw.prepare("SELECT count(*) FROM _sync_log").pluck().get();

test("I3: what leaves the queue stays in the log, and comes back under its numbers", () => {
  using it = capture({ role: "device" });
  insert(it, "a", "b", "c", "d");
  leave(it, 3, 1000);
  expect(queue(it, 3)).toEqual([[4, "d"]]);
  expect(it.run(pendingCount())).toBe(1);
  const first = it.run(findTransaction(1));
  expect(write(it, takeBackTransactions({ number: 1, stamp: first?.stamp ?? 0 }))).toEqual({
    dropped: { number: 1, stamp: first?.stamp },
  });
  expect(queue(it, 1)).toEqual([
    [2, "b"],
    [3, "c"],
    [4, "d"],
  ]);
  expect(it.run(pendingCount())).toBe(3);
  expect(it.run(lastTransaction()).number).toBe(4);
  insert(it, "e");
  expect(queue(it, 4)).toEqual([[5, "e"]]);
});

test("I3: what was kept for long enough is given up from the front, and told when it is asked for", () => {
  using it = capture({ role: "device" });
  insert(it, "a", "b", "c", "d");
  leave(it, 1, 1000);
  leave(it, 2, 2000);
  leave(it, 3, 3000);
  write(it, pruneKept({ nowMs: 5000, keepSentMs: 2500 }));
  expect(it.run(findTransaction(2))).toBeUndefined();
  expect(it.run(findTransaction(3))?.status).toBeUndefined();
  expect(rows(it)).toBe(4);
  expect(write(it, takeBackTransactions({ number: 0, stamp: 0 }))).toEqual({
    dropped: { number: 2, stamp: 0 },
    gone: { from: 1, number: 2 },
  });
  expect(queue(it, 2)).toEqual([
    [3, "c"],
    [4, "d"],
  ]);
});

test("I3: where nothing is kept, the numbers that are gone have a stamp of their own", () => {
  using it = capture({ role: "device" });
  insert(it, "a", "b");
  leave(it, 2, 1000);
  write(it, pruneKept({ nowMs: 1000, keepSentMs: 0 }));
  // The newest row stays, so that no seq is given twice.
  expect(rows(it)).toBe(1);
  expect(write(it, takeBackTransactions({ number: 0, stamp: 0 }))).toEqual({
    dropped: { number: 2, stamp: 0 },
    gone: { from: 1, number: 2 },
  });
  insert(it, "c");
  expect(queue(it, 2)).toEqual([[3, "c"]]);
});

test("I3: what is given up is deleted in small steps, and never read again in between", () => {
  using it = capture({ role: "device" });
  it.db.transaction((tx) => {
    for (let i = 0; i < 6000; i++)
      tx.insert(lists)
        .values({ id: `a${i}` })
        .run();
  });
  insert(it, "b");
  leave(it, 1, 1000);
  // Given up while it was small; the rest is deleted by and by.
  it.raw.exec("DELETE FROM _sync_sent; INSERT OR REPLACE INTO _sync_meta (k, v) VALUES ('pruned', 6001)");
  write(it, pruneKept({ nowMs: 1000, keepSentMs: 10_000 }));
  expect(rows(it)).toBe(6003 - 4001);
  expect(it.run(findTransaction(1))).toBeUndefined();
  expect(queue(it, 1)).toEqual([[2, "b"]]);
  write(it, pruneKept({ nowMs: 1000, keepSentMs: 10_000 }));
  expect(rows(it)).toBe(2);
});

test("I3: no more than a hundred thousand rows are kept, however young", () => {
  using it = capture({ role: "device" });
  insert(it, "a", "b");
  leave(it, 1, 1000);
  it.raw.exec("UPDATE _sync_log SET seq = seq + 99000 WHERE seq > 2");
  leave(it, 2, 1000);
  write(it, pruneKept({ nowMs: 1000, keepSentMs: 10_000 }));
  expect(it.run(findTransaction(1))).toBeDefined();
  insert(it, "c");
  it.raw.exec("UPDATE _sync_log SET seq = seq + 99000 WHERE seq > 99004");
  leave(it, 3, 1000);
  write(it, pruneKept({ nowMs: 1000, keepSentMs: 10_000 }));
  expect(it.run(findTransaction(1))).toBeUndefined();
  expect(it.run(findTransaction(2))).toBeDefined();
});

test("I3: a rejected one comes back void; its operations are read where they are asked for", () => {
  using it = capture({ role: "device" });
  insert(it, "a", "b");
  leave(it, 2, 1000);
  const first = it.run(findTransaction(1));
  write(it, noteKeptStatus(first?.markerSeq ?? 0, "rejected"));
  expect(it.run(findTransaction(1))?.status).toBe("rejected");
  write(it, takeBackTransactions({ number: 0, stamp: 0 }));
  expect(queue(it, 0)).toEqual([[1], [2, "b"]]);
  const [whole] = it.run(readTransactions(it.sync, { after: 0, limit: 1, rejected: true }));
  expect([whole?.isVoid, whole?.entries.length]).toEqual([true, 1]);
});

test("I4: what is discarded leaves the queue and is void; what is wiped is gone, and numbers begin at 1", () => {
  using it = capture({ role: "device" });
  insert(it, "a", "b");
  write(it, voidTransactions(0, 1000));
  expect(it.run(pendingCount())).toBe(0);
  write(it, takeBackTransactions({ number: 0, stamp: 0 }));
  expect(queue(it, 0)).toEqual([[1], [2]]);
  write(it, clearTransactions());
  expect(it.run(pendingCount())).toBe(0);
  expect(rows(it)).toBe(1);
  insert(it, "c");
  expect(queue(it, 0)).toEqual([[1, "c"]]);
});
