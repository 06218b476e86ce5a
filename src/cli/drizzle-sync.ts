/**
 * The command `drizzle-sync`.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { bundleMigrations } from "./bundle-migrations.ts";

const usage = `Usage: drizzle-sync bundle-migrations <drizzle folder> <out.ts>

  bundle-migrations   Writes the migrations that drizzle-kit generated into one module, for \`startSyncWorker\`.
`;

/** Runs the command and returns the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  let parsed;
  try {
    parsed = parseArgs({ args: [...args], allowPositionals: true, options: { help: { type: "boolean", short: "h" } } });
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    return 2;
  }
  const [command, ...rest] = parsed.positionals;
  if (parsed.values.help) {
    process.stdout.write(usage);
    return 0;
  }
  const [folder, out] = rest;
  if (command !== "bundle-migrations" || folder === undefined || out === undefined || rest.length > 2) {
    process.stderr.write(usage);
    return 2;
  }
  try {
    const count = await bundleMigrations(folder, out);
    process.stdout.write(`${out}: ${count} migration${count === 1 ? "" : "s"}\n`);
    return 0;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}
