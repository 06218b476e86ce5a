/**
 * Steps that write: the app on a device, the app on the server, and strangers who know neither Drizzle nor the library.
 *
 * @module
 */

import type { Random } from "../random.ts";
import { allScopes } from "./schema.ts";
import type { Scene } from "./scene.ts";
import type { Db } from "./server-node.ts";
import { known, readState } from "./state.ts";
import type { StepAction } from "./steps.ts";
import { Violation } from "./violation.ts";
import { execute, randomStatement, toSql, type Statement, type WorkloadContext } from "./workload.ts";

const show = ({ kind, table, key, cells }: Statement): string =>
  `${kind} ${table}/${Object.values(key).join("/")} ${JSON.stringify(cells)}`;

/** The app on a device writes a transaction, in one of many ways. */
export const writeOnDevice: StepAction = (random, device, { server, fresh, now, count }) => {
  const { version } = device;
  const context: WorkloadContext = { side: "device", version, scopes: [...server.rights(device.subject).write], fresh };
  const lines: string[] = [];
  const one = (db: Db, observed: (statement: () => void) => void): void => {
    const statement = randomStatement(random, known(readState(device.database)), context);
    if (statement === undefined) return;
    // The first version has Drizzle tables of its own.
    const raw = version === 1 || random.chance(0.3);
    lines.push(show(statement));
    observed(() => execute(db, statement, raw));
  };
  const isSingle = random.chance(0.25);
  const statements = 1 + random.int(3);
  const undoes = random.chance(0.05);
  const nests = random.chance(0.1);
  if (random.chance(0.08)) {
    // Another process of the device.
    const statement = randomStatement(random, known(readState(device.database)), context);
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
};

/** Thrown to roll a transaction back. */
class Undone extends Error {}

/** The app on the server, or another process beside it, writes a transaction. */
export function writeOnServer(random: Random, { server, fresh, count }: Scene): string {
  const context: WorkloadContext = { side: "server", version: 2, scopes: allScopes, fresh };
  const { db, database, witness } = server;
  const statements = 1 + random.int(3);
  const isStranger = random.chance(0.3);
  const lines: string[] = [];
  try {
    if (isStranger) {
      // Another process: it knows neither Drizzle nor the wrapper.
      database.raw.transaction(() => {
        for (let i = 0; i < statements; i++) {
          const statement = randomStatement(random, readState(database), context);
          if (statement === undefined) continue;
          lines.push(show(statement));
          const { sql, params } = toSql(statement);
          database.touch();
          database.raw.prepare(sql).run(...params);
          database.touch();
        }
      })();
    } else {
      const raw = random.chance(0.4);
      db.transaction((tx) => {
        for (let i = 0; i < statements; i++) {
          const statement = randomStatement(random, readState(database), context);
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
    database.touch();
  }
  if (!database.hasCrashed) witness.look();
  return `${isStranger ? "stranger: " : ""}${lines.join("; ")}`;
}
