/**
 * Builds and starts `examples/nextjs` from a fresh clone: installs what is missing, builds the library, gives the example
 * the library as npm would pack it, builds the app, starts it. Used by the demo and by the browser test.
 */
import { spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));
const example = join(root, "examples/nextjs");
const environment = { ...process.env, NEXT_TELEMETRY_DISABLED: "1" };

function run(command, args, cwd) {
  console.log(`> ${command} ${args.join(" ")}`);
  const { status, error } = spawnSync(command, args, { cwd, stdio: "inherit", env: environment });
  if (error) throw error;
  if (status !== 0) throw new Error(`\`${command} ${args.join(" ")}\` ended with exit code ${status}.`);
}

const versionOf = (folder) => JSON.parse(readFileSync(join(folder, "package.json"), "utf8")).version;

/** better-sqlite3 compiles for minutes where there is no prebuilt binary: the one that the library's tests use will do. */
function provideSqlite() {
  const [compiled, wanted] = [root, example].map((folder) => join(folder, "node_modules/better-sqlite3"));
  const binary = "build/Release/better_sqlite3.node";
  if (existsSync(join(wanted, binary))) return;
  if (existsSync(join(compiled, binary)) && versionOf(compiled) === versionOf(wanted)) {
    mkdirSync(dirname(join(wanted, binary)), { recursive: true });
    cpSync(join(compiled, binary), join(wanted, binary));
  } else {
    run("npm", ["rebuild", "better-sqlite3"], example);
  }
}

function installExample() {
  const lock = readFileSync(join(example, "package-lock.json"), "utf8");
  const record = join(example, "node_modules/.installed-lock.json");
  if (!existsSync(record) || readFileSync(record, "utf8") !== lock) {
    run("npm", ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"], example);
    writeFileSync(record, lock);
  }
  provideSqlite();
  // npm copies a package in a folder once. The library may have been built anew since.
  const installed = join(example, "node_modules/drizzle-sync");
  for (const name of ["dist", "package.json"]) {
    rmSync(join(installed, name), { recursive: true, force: true });
    cpSync(join(root, name), join(installed, name), { recursive: true });
  }
}

/** Everything up to a built app. */
export function buildExample() {
  run("node", [join(root, ".ci/ensure-installed.mjs")], root);
  run("npm", ["run", "--silent", "build"], root);
  installExample();
  run("npm", ["run", "--silent", "build"], example);
}

/** Starts the built app and resolves when it answers. `stop` ends it as a deployment would. */
export async function startExample({ port, databasePath, output = "inherit" }) {
  const child = spawn(process.execPath, ["node_modules/next/dist/bin/next", "start", "--port", String(port)], {
    cwd: example,
    stdio: ["ignore", output, output],
    env: { ...environment, ...(databasePath ? { DATABASE_PATH: databasePath } : {}) },
  });
  process.once("exit", () => child.kill());
  let log = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (text) => (log += text));
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const url = `http://localhost:${port}`;
  const deadline = Date.now() + 60_000;
  let answer;
  while (!answer?.ok) {
    answer = await fetch(url).catch(() => undefined);
    if (child.exitCode !== null || Date.now() > deadline || (answer && answer.status >= 500)) {
      child.kill();
      throw new Error(
        `The example does not answer (status ${answer?.status ?? "none"}, exit code ${child.exitCode}).\n${log}`,
      );
    }
    if (!answer?.ok) await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return {
    url,
    ended,
    log: () => log,
    stop: () => {
      child.kill("SIGTERM");
      return ended;
    },
  };
}
