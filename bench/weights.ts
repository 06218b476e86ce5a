/** `hot-row` and `bytes`: what travels, weighed. Nothing here is timed. */
import { gzipSync } from "node:zlib";
import Database from "better-sqlite3";
import { encode } from "cbor-x";
import { generateTodos } from "./data.ts";
import { round, type BenchOptions, type Result, type ResultRow } from "./measure.ts";
import { inScene, type Scene } from "./scene.ts";
import { fillServer } from "./sides/database.ts";

/** Rows in a page, as the client asks for them. */
const pageRows = 5000;

const weighed = (what: string, ours: number, theirs: number, bar: number, against: string): ResultRow => {
  const ratio = round(ours / theirs);
  return { what, ratio, bar, spread: [ratio, ratio], against };
};

/** One row changed again and again while a device is away: all its requests against the row's own size. */
export const hotRow = {
  defaults: { rows: 10_000, runs: 1 },
  short: { rows: 1000, runs: 1 },
  run: ({ rows: times, seed }: BenchOptions): Promise<Result> =>
    inScene(async (scene) => {
      const [row] = generateTodos(1, seed);
      if (row === undefined) throw new Error("There is no row.");
      await fillServer(scene.file("server"), "ours", 100, seed);
      await synced(scene, "server", { server: "after", device: "device" });
      const bodies = await scene.turn(
        { variant: "ours", server: "after", device: "device", deviceOptions: { weighs: true } },
        async ({ server, device }) => {
          await server.call("hammer", row[0], times);
          await device.call("sync", false);
          return device.call("bodies");
        },
      );
      const own = encode(row).byteLength;
      return {
        name: "hot-row",
        rows: [weighed(`${times} changes of one row`, bodies.raw, own, 3, "the row itself in CBOR")],
        figures: { bytes: bodies.raw, "bytes of the row": own, requests: bodies.count / 2 },
      };
    }),
};

/** Bootstrap and catch-up, gzipped, against gzipped JSON arrays of the same rows. */
export const bytes = {
  defaults: { rows: 100_000, runs: 1 },
  short: { rows: 10_000, runs: 1 },
  run: ({ rows, seed }: BenchOptions): Promise<Result> =>
    inScene(async (scene) => {
      const changed = Math.ceil(rows / 10);
      await fillServer(scene.file("server"), "ours", rows, seed);
      const weighing = { variant: "ours" as const, deviceOptions: { weighs: true } };
      const bootstrap = await scene.turn(
        { ...weighing, server: "server", keep: { server: "after", device: "device" } },
        async ({ server, device }) => {
          await device.call("sync", true);
          await server.call("change", changed, rows, seed);
          return device.call("bodies");
        },
      );
      const catchUp = await scene.turn({ ...weighing, server: "after", device: "device" }, async ({ device }) => {
        await device.call("sync", false);
        return device.call("bodies");
      });
      const after = new Database(scene.file("after"));
      const changes = after
        .prepare("SELECT id, title, done, updated_at FROM todos WHERE updated_at >= ? ORDER BY updated_at")
        .raw()
        .all(Date.UTC(2026, 0, 1));
      after.close();
      const json = {
        bootstrap: gzippedJson([...generateTodos(rows, seed)]),
        catchUp: gzippedJson(changes),
      };
      const against = "gzipped JSON arrays";
      return {
        name: "bytes",
        rows: [
          weighed(`bootstrap of ${rows} rows`, bootstrap.gzip, json.bootstrap, 0.7, against),
          weighed(`catch-up of ${changed} rows`, catchUp.gzip, json.catchUp, 0.6, against),
        ],
        figures: {
          "bootstrap, bytes a row, gzipped": round(bootstrap.gzip / rows),
          "bootstrap, bytes a row": round(bootstrap.raw / rows),
          "catch-up, bytes a row, gzipped": round(catchUp.gzip / changed),
          "catch-up, bytes a row": round(catchUp.raw / changed),
        },
      };
    }),
};

/** A device that has all, and the server that it had it from: another copy would be taken for one restored from a backup. */
async function synced(scene: Scene, server: string, keep: { server: string; device: string }): Promise<void> {
  await scene.turn({ variant: "ours", server, keep }, (pair) => pair.device.call("sync", true));
}

function gzippedJson(rows: readonly unknown[]): number {
  let bytes = 0;
  for (let i = 0; i < rows.length; i += pageRows)
    bytes += gzipSync(JSON.stringify(rows.slice(i, i + pageRows)), { level: 6 }).byteLength;
  return bytes;
}
