/**
 * Several connections, and several processes, on one database: who waits, who sees what, who is told.
 *
 * @module
 */

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { isBusyError } from "../../client/storage-error.ts";
import { all, run, type Core } from "../../plugin/core.ts";
import { headOf, inside, logOf, read, thrownBy, write, type DialectCase, type OpenedDialect } from "./dialect.ts";

async function secondOf(it: OpenedDialect): Promise<OpenedDialect> {
  assert.ok(it.another !== undefined, "the case says what it needs");
  return await it.another();
}

/** Another process that holds the write lock until it is told to commit, or for as long as given. */
async function lockElsewhere(it: OpenedDialect, forMs?: number): Promise<ChildProcess> {
  const script = `
    const Database = require("better-sqlite3");
    const db = new Database(process.argv[1]);
    db.exec("BEGIN IMMEDIATE; INSERT INTO lists(id) VALUES ('other')");
    console.log("locked");
    const end = () => { db.exec("COMMIT"); process.exit(); };
    ${forMs === undefined ? "process.stdin.on('data', end)" : `setTimeout(end, ${forMs})`}`;
  const child = spawn(process.execPath, ["-e", script, it.path ?? ""], { stdio: ["pipe", "pipe", "inherit"] });
  await once(child.stdout, "data");
  return child;
}

async function installAll(databases: readonly OpenedDialect[]): Promise<void> {
  await Promise.all(databases.map(async ({ sync }) => await sync.install("server")));
}

/** Waits until a condition holds; fails after ten seconds. */
async function until(isSo: () => boolean): Promise<void> {
  for (let i = 0; i < 1000 && !isSo(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok(isSo(), "did not come about in ten seconds");
}

const countLists = "SELECT count(*) FROM lists";

export const sharingCases: readonly DialectCase[] = [
  {
    name: "another connection sees what is committed, and nothing before",
    needs: ["another"],
    run: async (it) => {
      const other = await secondOf(it);
      // Nothing of a sync transaction can be looked at from outside; an asynchronous one can.
      if (it.connection.kind === "sync") {
        assert.equal(other.connection.kind, "sync");
        const { connection } = it;
        connection.transaction("write", () => {
          connection.run("INSERT INTO lists(id) VALUES ('a')", []);
          assert.deepEqual(other.connection.all(countLists, []), [[0]]);
        });
      } else {
        await it.connection.transaction("write", async (inner) => {
          await inner.run("INSERT INTO lists(id) VALUES ('a')", []);
          assert.deepEqual(await read(other, countLists), [[0]]);
        });
      }
      assert.deepEqual(await read(other, countLists), [[1]]);
    },
  },
  {
    name: "a reading transaction keeps its snapshot while another connection commits, and is in nobody's way",
    needs: ["another"],
    run: async (it) => {
      const other = await secondOf(it);
      if (it.connection.kind === "sync") {
        it.connection.transaction("read", () => {
          assert.deepEqual(it.connection.all(countLists, []), [[0]]);
          void other.connection.run("INSERT INTO lists(id) VALUES ('a')", []);
          assert.deepEqual(it.connection.all(countLists, []), [[0]]);
        });
      } else {
        await it.connection.transaction("read", async (inner) => {
          assert.deepEqual(await inner.all(countLists, []), [[0]]);
          await other.connection.run("INSERT INTO lists(id) VALUES ('a')", []);
          assert.deepEqual(await inner.all(countLists, []), [[0]]);
        });
      }
      assert.deepEqual(await read(it, countLists), [[1]]);
    },
  },
  {
    name: "a writer waits for another process, and then sees what it wrote",
    needs: ["path"],
    run: async (it) => {
      const child = await lockElsewhere(it, 200);
      const ended = once(child, "exit");
      const seen = await inside(it, "write", function* (): Core<unknown> {
        yield* run("INSERT INTO lists(id) VALUES ('own')");
        return yield* all("SELECT id FROM lists ORDER BY id");
      });
      assert.deepEqual(seen, [["other"], ["own"]]);
      await ended;
    },
  },
  {
    name: "P12: a database that stays locked fails as busy, changes nothing, and can be written afterwards",
    needs: ["path"],
    limit: "busy-until-collected",
    run: async (it) => {
      const child = await lockElsewhere(it);
      const ended = once(child, "exit");
      for (const mode of ["write", "apply"] as const) {
        const error = await thrownBy(() => inside(it, mode, () => run("INSERT INTO lists(id) VALUES ('own')")));
        assert.ok(isBusyError(error), String(error));
      }
      assert.deepEqual(await read(it, "PRAGMA foreign_keys"), [[1]]);
      child.stdin?.write("go");
      await ended;
      await inside(it, "write", () => run("INSERT INTO lists(id) VALUES ('own')"));
      assert.deepEqual(await read(it, countLists), [[2]]);
    },
  },
  {
    name: "C1: what another connection and another process write is captured, without code of ours",
    needs: ["path"],
    run: async (it) => {
      await it.sync.install("server");
      const before = await headOf(it);
      const child = await lockElsewhere(it, 0);
      if (child.exitCode === null) await once(child, "exit");
      assert.deepEqual(await logOf(it, before), ["insert lists(other) →list:other"]);
    },
  },
  {
    name: "two connections that install at the same time agree: one epoch, one log, and nothing to do the next time",
    needs: ["another"],
    run: async (it) => {
      const others = [await secondOf(it), await secondOf(it)];
      await installAll([it, ...others]);
      const version = await read(it, "PRAGMA schema_version");
      const epoch = await read(it, "SELECT v FROM _sync_meta WHERE k = 'epoch'");
      await installAll([it, ...others]);
      assert.deepEqual(await read(it, "PRAGMA schema_version"), version);
      for (const other of others)
        assert.deepEqual(await read(other, "SELECT v FROM _sync_meta WHERE k = 'epoch'"), epoch);
      const before = await headOf(it);
      await write(it, "INSERT INTO lists(id) VALUES ('a')");
      assert.deepEqual(await logOf(it, before), ["insert lists(a) →list:a"]);
    },
  },
  {
    name: "what is written is there when the database is opened again",
    needs: ["another"],
    run: async (it) => {
      await it.sync.install("device");
      await write(it, "INSERT INTO lists(id) VALUES ('a')");
      const again = await secondOf(it);
      await again.sync.install("server");
      // A device stays a device, whoever opens it.
      assert.equal(again.sync.role, "device");
      assert.deepEqual(await read(again, "SELECT id FROM lists"), [["a"]]);
    },
  },
  {
    name: "C5: subscribers are told of their own commits and of those of others, by table, and not of what was rolled back",
    needs: ["another", "app"],
    run: async (it) => {
      const { app } = it;
      assert.ok(app !== undefined);
      await it.sync.install("server");
      const told: string[] = [];
      const stop = it.sync.onCommit((tables) => told.push([...tables].join("+")));
      await app.execute("INSERT INTO lists(id) VALUES ('a')");
      assert.deepEqual(told, ["lists"]);
      await thrownBy(() => app.transaction(["INSERT INTO nodes(id) VALUES (1)"], new Error("no")));
      const other = await secondOf(it);
      await write(other, "INSERT INTO todos(id, list_id) VALUES ('t', 'a')");
      await until(() => told.includes("todos"));
      assert.ok(!told.join().includes("nodes"));
      stop();
      const count = told.length;
      await app.execute("DELETE FROM lists");
      assert.equal(told.length, count);
    },
  },
];
