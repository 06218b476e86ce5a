/** `npm run example:node`: one server and two devices on this machine, and what happens between them. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { count, eq } from "drizzle-orm";
import { openDevice } from "./device.ts";
import { lists, tasks } from "./schema.ts";
import { startServer } from "./server.ts";
import { household } from "./tasks.ts";

const folder = mkdtempSync(join(tmpdir(), "drizzle-sync-"));
const server = await startServer(join(folder, "server.db"));
const { db } = server;

const data = household(4, 1000);
db.transaction((tx) => {
  for (const list of data.lists) tx.insert(lists).values(list).run();
  for (const task of data.tasks) tx.insert(tasks).values(task).run();
});
console.log(`The server has ${data.lists.length} lists and ${data.tasks.length} tasks.`);

const ann = openDevice(join(folder, "ann.db"), server.url, "ann");
const bob = openDevice(join(folder, "bob.db"), server.url, "bob");
for (const [name, device] of Object.entries({ Ann: ann, Bob: bob })) {
  const started = performance.now();
  await device.client.sync();
  const rows = device.db.select({ n: count() }).from(tasks).get()?.n;
  console.log(`${name}'s device has ${rows} tasks after ${Math.round(performance.now() - started)} ms.`);
}

// Both are offline and write. Their devices answer at once, and queue.
const [first, second] = data.tasks;
if (!first || !second) throw new Error("There are no tasks.");
ann.db.update(tasks).set({ done: true }).where(eq(tasks.id, first.id)).run();
ann.db.update(tasks).set({ title: "Call the plumber about the kitchen tap" }).where(eq(tasks.id, second.id)).run();
bob.db.update(tasks).set({ priority: 3 }).where(eq(tasks.id, first.id)).run();
bob.db.update(tasks).set({ title: "Repair the kitchen tap" }).where(eq(tasks.id, second.id)).run();
const waiting = [await ann.client.pending.list(), await bob.client.pending.list()].map((list) => list.length);
console.log(`Ann has ${waiting[0]} transactions waiting, Bob has ${waiting[1]}.`);

await ann.client.sync();
await bob.client.sync();
await ann.client.sync();

const show = (device: typeof ann, id: string) => device.db.select().from(tasks).where(eq(tasks.id, id)).get();
console.log("Different columns of one task merge:", show(bob, first.id));
console.log("One column, two values, the first to arrive stays:", show(bob, second.id)?.title);
for (const outcome of await bob.client.outcomes.list()) {
  if (outcome.status === "merged") console.log("Bob is told what was set aside:", outcome.conflicts[0]?.client);
}

// From here on both stay connected: a write on one device shows on the other by itself.
await Promise.all([ann, bob].map(live));
const arrived = new Promise<void>((resolve) => {
  const stop = bob.client.subscribe(() => {
    if (show(bob, first.id)?.title !== "Water the plants") return;
    stop();
    resolve();
  });
});
const written = performance.now();
ann.db.update(tasks).set({ title: "Water the plants" }).where(eq(tasks.id, first.id)).run();
await arrived;
console.log(`Ann's next change was on Bob's device ${(performance.now() - written).toFixed(1)} ms later.`);

await ann.close();
await bob.close();
server.close();
rmSync(folder, { recursive: true });

/** Starts a device's client and waits until it is in step. */
function live({ client }: typeof ann): Promise<void> {
  return new Promise((resolve) => {
    const stop = client.subscribe(({ status }) => {
      if (status !== "synced") return;
      stop();
      resolve();
    });
    client.start();
  });
}
