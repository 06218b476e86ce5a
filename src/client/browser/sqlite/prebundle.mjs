/**
 * Build step: the official SQLite build as one ES module with its wasm file beside it. As published it holds
 * `new Worker(new URL(…))` for parts that we do not use (the "opfs" VFSes, the Worker1 interface): Turbopack refuses one of
 * them, and every bundler would carry their files along. They are taken out; each replacement must match exactly once,
 * so that a new release of the package fails here and not in somebody's bundle.
 *
 * Usage: `node src/client/browser/sqlite/prebundle.mjs [folder]`; the folder is `dist/client/browser/sqlite` by default.
 *
 * @module
 */

import { copyFile, mkdir, readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.resolve(here, "../../../..");

/** What is replaced, and by what. The early returns leave dead code behind, which the minifier drops. */
const replacements = [
  ['new URL("sqlite3.wasm", import.meta.url).href', 'new URL("./sqlite3.wasm", import.meta.url).href'],
  ['new URL(".", _scriptName).href', '_scriptName.replace(/[^/]*$/, "")'],
  ['new Worker(new URL("sqlite3-worker1.mjs", import.meta.url), { type: "module" })', "null"],
  ["if (sqlite3.config.disable?.vfs?.kvvfs) return;", "return;"],
  ['if (sqlite3.config.disable?.vfs?.opfs && sqlite3.config.disable.vfs["opfs-vfs"]) return;', "return;"],
  ["if (!sqlite3.opfs || sqlite3.config.disable?.vfs?.opfs) return;", "return;"],
  ['if (!sqlite3.opfs || sqlite3.config.disable?.vfs?.["opfs-wl"]) return;', "return;"],
];

/** Writes `sqlite3.js`, `sqlite3.wasm`, the types and the license notice into `folder`. */
export async function prebundleSqlite(folder) {
  const source = path.join(root, "node_modules/@sqlite.org/sqlite-wasm");
  const entry = path.join(source, "dist/index.mjs");
  const { version } = JSON.parse(await readFile(path.join(source, "package.json"), "utf8"));
  let text = await readFile(entry, "utf8");
  for (const [from, to] of replacements) {
    if (text.split(from).length !== 2)
      throw new Error(`@sqlite.org/sqlite-wasm ${version}: \`${from}\` is not there exactly once.`);
    text = text.replace(from, () => to);
  }
  await mkdir(folder, { recursive: true });
  await build({
    stdin: { contents: text, resolveDir: path.dirname(entry), sourcefile: "sqlite3.mjs", loader: "js" },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    outfile: path.join(folder, "sqlite3.js"),
    legalComments: "inline",
    banner: { js: `/*! @sqlite.org/sqlite-wasm ${version}, prebundled and modified: see sqlite3.LICENSE.txt. */` },
    logLevel: "warning",
  });
  const bundle = await readFile(path.join(folder, "sqlite3.js"), "utf8");
  if (/new Worker|SharedWorker|async-proxy/.test(bundle))
    throw new Error(`@sqlite.org/sqlite-wasm ${version} starts a worker that is not known here.`);
  await copyFile(path.join(source, "dist/sqlite3.wasm"), path.join(folder, "sqlite3.wasm"));
  await copyFile(path.join(here, "sqlite3.d.ts"), path.join(folder, "sqlite3.d.ts"));
  await copyFile(path.join(here, "sqlite3.LICENSE.txt"), path.join(folder, "sqlite3.LICENSE.txt"));
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await prebundleSqlite(path.resolve(process.argv[2] ?? path.join(root, "dist/client/browser/sqlite")));
}
