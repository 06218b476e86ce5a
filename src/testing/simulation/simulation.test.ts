/**
 * The corpus of past failures and a few random histories with every run of the tests; `npm run simulate` runs as many as one
 * likes.
 */

import fc from "fast-check";
import { expect, test } from "vitest";
import { checkAsyncProperty } from "../check-property.ts";
import { corpus } from "./corpus.ts";
import { readContents, writeContents } from "./contents.ts";
import { giveBack, openInstalled } from "./database-image.ts";
import { makePlan } from "./plan.ts";
import { minimize } from "./minimize.ts";
import { runPlan } from "./run.ts";

test.for(corpus)("a past failure stays mended: $shows", { timeout: 60_000 }, async ({ plan }) => {
  await runPlan(plan);
});

test(
  "promises 1 to 4: whatever is lost, repeated, late or dies, devices show states that the server had, and every transaction has one outcome",
  { timeout: 120_000 },
  async () => {
    await checkAsyncProperty(
      // Leaving out steps makes a failing history small, not a smaller seed: `npm run simulate -- --only SEED` does that.
      fc.asyncProperty(fc.noShrink(fc.nat(2 ** 31 - 1)), async (planSeed) => {
        await runPlan(makePlan(planSeed));
      }),
      40,
    );
  },
);

test("a plan is the same for the same seed", () => {
  expect(makePlan(42)).toEqual(makePlan(42));
  expect(makePlan(42)).not.toEqual(makePlan(43));
});

test("a run begins with a database that holds nothing of the run before", async () => {
  const first = await openInstalled({ role: "device", policy: "server", version: 2 });
  const before = readContents(first.raw);
  first.raw.exec("INSERT INTO todos (id, title) VALUES ('t1', 'left behind')");
  giveBack(first);
  const second = await openInstalled({ role: "device", policy: "server", version: 2 });
  expect(second.raw).toBe(first.raw);
  expect(readContents(second.raw)).toEqual(before);
  expect(() => first.handle.prepare("SELECT 1")).toThrow("The process died here.");
});

test("foreign keys are enforced as they are switched, by statements that were prepared before, too", async () => {
  const { handle } = await openInstalled({ role: "device", policy: "server", version: 2 });
  const orphan = handle.prepare("INSERT INTO comments (id, todo_id) VALUES (?, 'nowhere')");
  const isEnforced = handle.prepare("PRAGMA foreign_keys").pluck();
  const off: readonly (() => unknown)[] = [
    () => handle.exec("PRAGMA foreign_keys = OFF"),
    () => handle.pragma("foreign_keys = OFF"),
    () => handle.prepare("PRAGMA foreign_keys = OFF").run(),
  ];
  for (const [number, switchOff] of off.entries()) {
    expect(() => orphan.run(`refused ${number}`)).toThrow("FOREIGN KEY");
    switchOff();
    expect(isEnforced.get()).toBe(0);
    expect(orphan.run(`taken ${number}`).changes).toBe(1);
    // Inside a transaction the pragma does nothing.
    handle.exec("BEGIN");
    handle.exec("PRAGMA foreign_keys = ON");
    expect(isEnforced.get()).toBe(0);
    handle.exec("COMMIT");
    handle.exec("PRAGMA foreign_keys = ON");
    expect(isEnforced.get()).toBe(1);
  }
  expect(() => orphan.run("refused")).toThrow("FOREIGN KEY");
});

test("contents that were read are put back as they were", async () => {
  const database = await openInstalled({ role: "device", policy: "server", version: 2 });
  database.raw.exec("INSERT INTO todos (id, title) VALUES ('t1', 'kept')");
  const contents = readContents(database.raw);
  database.raw.exec("DELETE FROM todos");
  writeContents(database.raw, contents);
  expect(readContents(database.raw)).toEqual(contents);
});

test("a failing plan is made as short as what fails in it", async () => {
  const plan = makePlan(7);
  const needed = new Set([plan.steps[3], plan.steps[20], plan.steps[27]]);
  const small = await minimize(plan, (candidate) =>
    Promise.resolve([...needed].every((step) => candidate.steps.some((kept) => kept === step))),
  );
  expect(small.steps).toEqual([...needed]);
});
