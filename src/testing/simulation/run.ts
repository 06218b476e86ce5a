/**
 * Runs a plan: one server, a few devices, a network that fails, processes that die. After every step everything is looked
 * at; at the end the faults stop, and everybody must come to agree.
 *
 * @module
 */

import { createRandom, type Random } from "../random.ts";
import { Crash } from "../crash-database.ts";
import { faults } from "../fault-network.ts";
import { createVirtualClock, type VirtualClock } from "../virtual-clock.ts";
import { checkPush } from "./check-push.ts";
import { checkpointOf } from "./check-device.ts";
import { heldScopes } from "../../client/checkpoint.ts";
import { isSyncError } from "../../protocol/errors.ts";
import { parseCursor } from "../../protocol/ids.ts";
import { transactionId } from "../../client/outcomes.ts";
import { startDevice, type DeviceNode } from "./device-node.ts";
import type { Plan, Step } from "./plan.ts";
import { allScopes, grants, people } from "./schema.ts";
import { startServer, type Db, type ServerNode } from "./server-node.ts";
import { describeDifference, known, readState, restrict } from "./state.ts";
import { Violation } from "./violation.ts";
import { execute, randomStatement, toSql, type Statement, type WorkloadContext } from "./workload.ts";

/** What happened how often, to see that a run is worth something. */
export type Totals = Readonly<Record<string, number>>;

export function addTotals(a: Totals, b: Totals): Totals {
  const sum: Record<string, number> = { ...a };
  for (const [what, count] of Object.entries(b)) sum[what] = (sum[what] ?? 0) + count;
  return sum;
}

/** Runs a plan. Throws what went wrong: a {@link Violation}, or whatever the library threw. */
export async function runPlan(plan: Plan, trace: (line: string) => void = () => undefined): Promise<Totals> {
  const stray: unknown[] = [];
  const release = takePlatform((error) => void stray.push(error));
  let run: Run | undefined;
  try {
    run = await createRun(plan, trace);
    for (const [index, step] of plan.steps.entries()) {
      await run.take(index, step);
      if (stray.length > 0) throw stray[0];
    }
    await run.finish();
    if (stray.length > 0) throw stray[0];
    return run.totals;
  } finally {
    await run?.close();
    release();
  }
}

/**
 * Takes over what of the platform would run by itself. The library's intervals fire by real time: a run does what they do
 * (`upkeep`) when its plan says so. What is thrown where nobody waits reaches the run, unless a dead process threw it.
 */
function takePlatform(onStray: (error: unknown) => void): () => void {
  const { setInterval, queueMicrotask } = globalThis;
  const onError = (error: unknown): void => {
    if (!(error instanceof Crash)) onStray(error);
  };
  globalThis.setInterval = (() => ({ unref: () => undefined })) as unknown as typeof setInterval;
  globalThis.queueMicrotask = (callback) =>
    queueMicrotask(() => {
      try {
        callback();
      } catch (error) {
        onError(error);
      }
    });
  process.on("unhandledRejection", onError);
  return () => {
    process.off("unhandledRejection", onError);
    Object.assign(globalThis, { setInterval, queueMicrotask });
  };
}

interface Run {
  take(index: number, step: Step): Promise<void>;
  finish(): Promise<void>;
  close(): Promise<void>;
  readonly totals: Totals;
}

/** Lets everything that is under way come to rest: nothing here waits for anything but other promises. */
async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}

async function createRun({ seed, circumstances }: Plan, trace: (line: string) => void): Promise<Run> {
  const clock = createVirtualClock();
  const totals: Record<string, number> = {};
  const count = (what: string): void => void (totals[what] = (totals[what] ?? 0) + 1);
  let now = 0;
  let values = 0;
  const fresh = (): string => `v${values++}`;

  const server = await startServer(circumstances, clock, count);
  const random = createRandom(seed ^ 0x5eed);
  const devices: DeviceNode[] = [];
  seedRights(server, random);
  for (let index = 0; index < circumstances.devices; index++) {
    devices.push(
      await startDevice({
        index,
        subject: people[index] as string,
        seed: seed + index,
        circumstances,
        transport: server.transport(people[index] as string),
        clock: clock.skewed(circumstances.skews[index] ?? 0),
        witness: server.witness,
        step: () => now,
      }),
    );
  }
  const owners = new Map<string, DeviceNode>();
  server.witness.onCommit = (commit) => {
    count("commits");
    if (!commit.handled) return;
    const { deviceId, from, to, outcomes } = commit.handled;
    const device =
      owners.get(deviceId) ?? devices.find(({ database }) => checkpointOf(database)?.deviceId === deviceId);
    if (device === undefined)
      throw new Violation("I1", `The server handled transactions of ${deviceId}, which is no device.`);
    owners.set(deviceId, device);
    for (let number = from + 1; number <= to; number++) {
      const outcome = outcomes.get(number);
      count(outcome?.status === "rejected" ? `rejected ${outcome.code}` : (outcome?.status ?? "applied"));
    }
    checkPush(commit, {
      name: device.name,
      subject: device.subject,
      writable: server.rights(device.subject).write,
      transaction: device.transaction,
      seenAt: device.seenAt,
    });
  };

  const unexpected = (): void => {
    for (const error of [...server.unexpected, ...devices.flatMap((device) => device.unexpected)]) throw error;
  };

  /** After a step: what died is started again, and everything is looked at. */
  async function look(): Promise<void> {
    await settle();
    if (server.database.hasCrashed) {
      count("server crashes");
      await server.restart();
      for (const device of devices) device.network.cutStream();
      await settle();
    }
    for (const device of devices) {
      if (!device.database.hasCrashed) continue;
      count("device crashes");
      await device.restart();
      await settle();
    }
    unexpected();
    for (const device of devices) {
      device.check(now);
      totals["withheld"] = (totals["withheld"] ?? 0) + (checkpointOf(device.database)?.withheld.length ?? 0);
    }
  }

  return {
    totals,
    async take(index, step) {
      now = index + 1;
      const line = await perform(step, { clock, server, devices, fresh, now, count });
      trace(`${now} ${step.kind}: ${line}`);
      await look();
    },

    async finish() {
      now++;
      for (const device of devices) {
        device.network.setDown(false);
        device.network.release();
        device.database.crashAfter(undefined);
      }
      server.database.crashAfter(undefined);
      await look();
      for (let round = 0; ; round++) {
        for (const device of devices) {
          device.network.release();
          if (device.client.state.status === "idle") device.client.start();
          if (device.client.state.status === "paused") device.client.resume();
        }
        await clock.advance(20_000, settle);
        server.upkeep(0);
        for (const device of devices) device.upkeep();
        await look();
        if (devices.every((device) => isInStep(device, server))) break;
        if (round >= 40)
          throw new Violation("convergence", devices.map((device) => describe(device, server)).join("; "));
      }
      for (const device of devices) await checkEnd(device, server);
    },

    async close() {
      for (const device of devices) await device.close();
      server.close();
    },
  };
}

function seedRights(server: ServerNode, random: Random): void {
  for (const subject of people) {
    for (const scope of allScopes) {
      const read = random.chance(0.75) ? 1 : 0;
      server.db
        .insert(grants)
        .values({ subject, scope, read, write: random.chance(0.85) ? 1 : 0 })
        .run();
    }
  }
}

interface Scene {
  readonly clock: VirtualClock;
  readonly server: ServerNode;
  readonly devices: readonly DeviceNode[];
  readonly fresh: () => string;
  readonly now: number;
  readonly count: (what: string) => void;
}

/** Does one step; answers what it did, for the trace. */
async function perform({ kind, seed }: Step, scene: Scene): Promise<string> {
  const random = createRandom(seed);
  const { clock, server, devices, count } = scene;
  const device = random.pick(devices);
  switch (kind) {
    case "device-write":
      return writeOnDevice(random, device, scene);
    case "server-write":
      return writeOnServer(random, scene);
    case "sync":
      count("syncs");
      // Whether it succeeds is the network's business.
      device.client.sync().catch((error: unknown) => {
        if (!isSyncError(error)) device.unexpected.push(error);
      });
      return device.name;
    case "start":
      device.client.start();
      return device.name;
    case "pause":
      if (device.client.state.status === "paused") device.client.resume();
      else device.client.pause();
      return device.name;
    case "fault": {
      const fault = random.pick(faults);
      device.network.fail(fault);
      return `${fault} for ${device.name}`;
    }
    case "cut":
      device.network.cutStream(random.chance(0.5) ? random.int(3) : undefined);
      return device.name;
    case "late":
      if (device.network.lateCount === 0) return "nothing";
      await device.network.deliverLate(random.int(device.network.lateCount));
      count("late requests");
      return device.name;
    case "release":
      for (const each of devices) each.network.release();
      return "all";
    case "cable": {
      const down = random.chance(0.6);
      device.network.setDown(down);
      return `${device.name} ${down ? "down" : "up"}`;
    }
    case "time": {
      const ms = random.pick([50, 700, 5000, 30_000, 200_000]);
      await clock.advance(ms, settle);
      server.upkeep(random.chance(0.5) ? random.int(20) : 0);
      for (const each of devices) each.upkeep();
      return `${ms} ms`;
    }
    case "rights":
      return changeRights(random, scene);
    case "hold": {
      if (!device.onDemand) return "nothing";
      const held = [...device.holds.keys()];
      if (held.length > 0 && random.chance(0.4)) {
        const scope = random.pick(held);
        device.holds.get(scope)?.release();
        device.holds.delete(scope);
        return `${device.name} lets ${scope} go`;
      }
      const scope = random.pick([...allScopes, `grantee:${device.subject}`]);
      const hold = device.client.hold(scope, { ttlMs: random.pick([0, 10_000]) });
      hold.ready.catch((error: unknown) => {
        if (!isSyncError(error)) device.unexpected.push(error);
      });
      device.holds.set(scope, hold);
      return `${device.name} holds ${scope}`;
    }
    case "discard": {
      const [outcome] = await device.client.outcomes.list().catch(() => []);
      if (outcome === undefined) return "nothing";
      // A device that dies meanwhile may have done it or not.
      await device.client.outcomes.resolve(outcome.id, "discard").catch(() => undefined);
      device.discarded.add(outcome.id);
      return `${outcome.id} of ${device.name}`;
    }
    case "reset":
      await device.client.reset().catch((error: unknown) => {
        if (!device.database.hasCrashed) device.unexpected.push(error);
      });
      return device.name;
    case "device-crash":
      device.database.crash();
      return device.name;
    case "device-crash-inside": {
      const statements = 1 + random.int(40);
      device.database.crashAfter(statements);
      return `${device.name} after ${statements} statements`;
    }
    case "server-crash-inside": {
      const statements = 1 + random.int(80);
      server.database.crashAfter(statements);
      return `after ${statements} statements`;
    }
    case "server-restart":
      server.database.crash();
      return "";
  }
}

const show = ({ kind, table, key, cells }: Statement): string =>
  `${kind} ${table}/${Object.values(key).join("/")} ${JSON.stringify(cells)}`;

function writeOnDevice(random: Random, device: DeviceNode, { server, fresh, now, count }: Scene): string {
  const context: WorkloadContext = { side: "device", scopes: [...server.rights(device.subject).write], fresh };
  const lines: string[] = [];
  const one = (db: Db, observed: (statement: () => void) => void): void => {
    const statement = randomStatement(random, known(readState(device.database.raw)), context);
    if (statement === undefined) return;
    const raw = random.chance(0.3);
    lines.push(show(statement));
    observed(() => execute(db, statement, raw));
  };
  const isSingle = random.chance(0.25);
  const statements = 1 + random.int(3);
  const undoes = random.chance(0.05);
  const nests = random.chance(0.1);
  if (random.chance(0.08)) {
    // Another process of the device.
    const statement = randomStatement(random, known(readState(device.database.raw)), context);
    if (statement === undefined) return "nothing";
    const { sql, params } = toSql(statement);
    device.writeAsStranger(() => void device.database.raw.prepare(sql).run(...params));
    return `${device.name} by a stranger: ${show(statement)}`;
  }
  const result = device.write(now, (observed) => {
    if (isSingle) return one(device.db, observed);
    device.db.transaction((tx) => {
      for (let i = 0; i < statements; i++) one(tx, observed);
      if (nests) {
        try {
          tx.transaction((inner) => {
            // Observed as a whole: it leaves nothing.
            observed(() => {
              try {
                inner.transaction((innermost) => {
                  one(innermost, (statement) => statement());
                  throw new Undone();
                });
              } catch (error) {
                if (!(error instanceof Undone)) throw error;
              }
            });
          });
        } catch (error) {
          if (!(error instanceof Undone)) throw error;
        }
      }
      if (undoes) throw new Undone();
    });
  });
  count(`device transactions ${result}`);
  return `${device.name} ${result}: ${lines.join("; ")}`;
}

/** Thrown to roll a transaction back. */
class Undone extends Error {}

function writeOnServer(random: Random, { server, fresh, count }: Scene): string {
  const context: WorkloadContext = { side: "server", scopes: allScopes, fresh };
  const { db, database, witness } = server;
  const statements = 1 + random.int(3);
  const isStranger = random.chance(0.3);
  const lines: string[] = [];
  try {
    if (isStranger) {
      // Another process: it knows neither Drizzle nor the wrapper.
      database.raw.transaction(() => {
        for (let i = 0; i < statements; i++) {
          const statement = randomStatement(random, readState(database.raw), context);
          if (statement === undefined) continue;
          lines.push(show(statement));
          const { sql, params } = toSql(statement);
          database.raw.prepare(sql).run(...params);
        }
      })();
    } else {
      const raw = random.chance(0.4);
      db.transaction((tx) => {
        for (let i = 0; i < statements; i++) {
          const statement = randomStatement(random, readState(database.raw), context);
          if (statement === undefined) continue;
          lines.push(show(statement));
          execute(tx, statement, raw);
        }
      });
    }
    count("server transactions");
  } catch (error) {
    if (error instanceof Violation) throw error;
    lines.push(String(error));
  }
  if (!database.hasCrashed) witness.look();
  return `${isStranger ? "stranger: " : ""}${lines.join("; ")}`;
}

function changeRights(random: Random, { server, devices, count }: Scene): string {
  const { subject } = random.pick(devices);
  const scope = random.pick(allScopes);
  const column = random.chance(0.7) ? "read" : "write";
  const current = server.rights(subject)[column].has(scope);
  count("rights changed");
  try {
    server.db
      .insert(grants)
      .values({ subject, scope, read: 0, write: 0, [column]: current ? 0 : 1 })
      .onConflictDoUpdate({ target: [grants.subject, grants.scope], set: { [column]: current ? 0 : 1 } })
      .run();
  } catch (error) {
    if (error instanceof Violation) throw error;
    return String(error);
  }
  return `${subject} may ${current ? "no longer" : "now"} ${column} ${scope}`;
}

/** What a device should hold in the end. */
function targetOf(device: DeviceNode, server: ServerNode): string[] {
  const { read } = server.rights(device.subject);
  const target = [...read].sort();
  return device.onDemand ? target.filter((scope) => device.holds.has(scope)) : target;
}

function isInStep(device: DeviceNode, server: ServerNode): boolean {
  const checkpoint = checkpointOf(device.database);
  if (device.client.state.status !== "synced" || device.client.state.pending > 0 || checkpoint?.cursor === undefined)
    return false;
  const held = heldScopes(checkpoint);
  const target = targetOf(device, server);
  if (device.onDemand ? !target.every((scope) => held.includes(scope)) : held.join() !== target.join()) return false;
  // Commits outside its scopes send a device nothing: its cursor may be older.
  const at = server.witness.stateAt(parseCursor(checkpoint.cursor).seq);
  return describeDifference(restrict(at, new Set(held)), restrict(server.witness.state, new Set(held))) === "";
}

function describe(device: DeviceNode, server: ServerNode): string {
  const { status, pending, error } = device.client.state;
  const checkpoint = checkpointOf(device.database);
  return `${device.name} is ${status} with ${pending} pending at ${checkpoint?.cursor ?? "nothing"} of ${server.witness.head}, holds ${checkpoint?.held ?? "nothing"}, should hold ${targetOf(device, server).join(",")}${error ? ` (${error.code}: ${error.message})` : ""}`;
}

/** Promise 2: each transaction was applied, or its outcome is there, once. */
async function checkEnd(device: DeviceNode, server: ServerNode): Promise<void> {
  const { name, database, client, written, told } = device;
  const checkpoint = checkpointOf(database);
  const shown = known(readState(database.raw));
  const wrong = describeDifference(
    shown,
    restrict(server.witness.state, new Set(checkpoint ? heldScopes(checkpoint) : [])),
  );
  if (wrong !== "") throw new Violation("convergence", `${name} does not show what the server has: ${wrong}.`);
  const listed = new Map<string, string[]>();
  for (const outcome of await client.outcomes.list())
    listed.set(outcome.id, [...(listed.get(outcome.id) ?? []), outcome.status]);
  for (const { stamp, number } of written.values()) {
    const id = transactionId(stamp);
    const became = server.witness.fateOf(checkpoint?.deviceId ?? "", number);
    if (became === undefined)
      throw new Violation(
        "promise 2",
        `Transaction ${number} of ${name} left the queue, but the server never handled it.`,
      );
    const stored = listed.get(id) ?? [];
    const isDiscarded = device.discarded.has(id) && stored.length === 0;
    if (!isDiscarded && stored.join() !== (became === "applied" ? "" : became)) {
      throw new Violation(
        "promise 2",
        `Transaction ${number} of ${name} was ${became}; its outcomes on the device: ${stored.join() || "none"}.`,
      );
    }
    const heard = told.get(id) ?? [];
    if (heard.some((status) => status !== became) || (became !== "applied" && heard.length === 0)) {
      throw new Violation(
        "promise 2",
        `Transaction ${number} of ${name} was ${became}; the app was told ${heard.join() || "nothing"}.`,
      );
    }
  }
}
