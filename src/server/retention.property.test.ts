import { expect, test } from "vitest";
import { transact } from "../plugin/core.ts";
import { indexTail, readHead, trimLog } from "../plugin/oplog.ts";
import type { PullRequest } from "../protocol/pull.ts";
import type { Page } from "../protocol/pull.ts";
import { createRandom } from "../testing/random.ts";
import type { HandDevice } from "../testing/hand-device.ts";
import { expectBase, newTodo, openServer } from "../testing/server-fixture.ts";

const seeds = Number(process.env["RUNS"] ?? 40);
const first = Number(process.env["SEED"] ?? 1);

interface Walking {
  readonly device: HandDevice;
  round?: PullRequest["round"];
  stage: Page[];
  isHeldSent?: boolean;
}

test("I2, R3, promise 1: however the log is trimmed beneath devices at various places, each ends as the server is", async () => {
  let resets = 0;
  let restarts = 0;
  for (let seed = first; seed < first + seeds; seed++) {
    const random = createRandom(seed);
    await using server = await openServer({ sql: [`INSERT INTO lists VALUES ('a', 'A', NULL), ('b', 'B', NULL)`] });
    const { database } = server;
    const all = ["list:a", "list:b", "everyone"];
    server.grants.set("ann", { read: all, write: all });
    const id = (): string => `t${random.int(8)}`;
    const write = (): string => {
      const list = random.pick(["a", "b"]);
      switch (random.int(6)) {
        case 0:
          return `INSERT OR REPLACE INTO todos (id, list_id, title) VALUES ('${id()}', '${list}', 'v${random.int(1e6)}')`;
        case 1:
          return `INSERT OR IGNORE INTO comments SELECT 'c${random.int(8)}', id, 'x' FROM todos LIMIT 1`;
        case 2:
          return `UPDATE todos SET list_id = '${list}' WHERE id = '${id()}'`;
        case 3:
          return `DELETE FROM todos WHERE id = '${id()}'`;
        case 4:
          return `UPDATE OR IGNORE todos SET id = '${id()}' WHERE id = '${id()}'`;
        default:
          return `UPDATE todos SET title = 'v${random.int(1e6)}' WHERE id > '${id()}'`;
      }
    };
    const walkers: Walking[] = [];
    for (let i = 0; i < 4; i++) {
      const device = server.device("ann");
      await device.handshake();
      walkers.push({ device, stage: [] });
    }
    const ask = async (walker: Walking, limit: number): Promise<boolean> => {
      const { device, round, isHeldSent } = walker;
      const answer = await device.ask({
        limit,
        ...(round === undefined ? {} : { round }),
        ...(isHeldSent === true ? { held: device.held } : {}),
      });
      if (answer.kind === "need-held") walker.isHeldSent = true;
      else if (answer.kind === "page") {
        walker.stage.push(answer);
        walker.round = answer.round;
        if (answer.to === undefined) return false;
        device.apply(walker.stage);
        walker.stage = [];
        return true;
      } else {
        if (answer.kind === "restart") restarts++;
        else if (answer.kind === "reset") {
          resets++;
          device.cursor = undefined;
        } else throw new Error(`seed ${seed}: ${answer.kind}`);
        walker.round = undefined;
        walker.stage = [];
      }
      return false;
    };
    for (let step = 0; step < 60; step++) {
      const walker = random.pick(walkers);
      const { device } = walker;
      switch (random.int(6)) {
        case 0:
        case 1:
          await server.run(write());
          break;
        case 2: {
          const head = (await transact(database.connection, "read", readHead)).seq;
          const upTo = head - random.int(6);
          await transact(database.connection, "write", () => trimLog(database, upTo, 1 + random.int(10)));
          break;
        }
        case 3:
          await transact(database.connection, "write", () => indexTail(database, 1 + random.int(20)));
          break;
        case 4:
          if (walker.round === undefined)
            await device.push(device.tx(device.insert("todos", `p${seed}-${step}`, { ...newTodo, listId: "b" })));
          break;
        default:
          await ask(walker, 1 + random.int(5));
      }
    }
    for (const walker of walkers) {
      for (let i = 0; !(await ask(walker, 3)); i++) if (i > 200) throw new Error(`seed ${seed}: a round does not end`);
      await expectBase(server, walker.device);
      expect(walker.device.lastTx.number, `seed ${seed}`).toBe(walker.device.ackedTx);
    }
  }
  // The worlds were not all peaceful.
  expect(resets).toBeGreaterThan(seeds / 4);
  expect(restarts).toBeGreaterThan(seeds / 8);
}, 120_000);
