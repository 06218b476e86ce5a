/**
 * The command `drizzle-sync`.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { bundleMigrations } from "./bundle-migrations.ts";
import { liftFile } from "./lift.ts";

const usage = `Usage: drizzle-sync bundle-migrations <drizzle folder> <out.ts>
       drizzle-sync lift <database file>

  bundle-migrations   Writes the migrations that drizzle-kit generated into one module, for \`startSyncWorker\`.
  lift                Takes the triggers out of a server's database, right before \`drizzle-kit push\`. The app puts them back.
`;

/** A command: how many arguments it takes, and what it does, which it says in a line. */
interface Command {
  readonly arguments: number;
  run(first: string, second: string): Promise<string>;
}

const commands: ReadonlyMap<string, Command> = new Map<string, Command>([
  [
    "bundle-migrations",
    {
      arguments: 2,
      run: async (folder, out) => `${out}: ${counted(await bundleMigrations(folder, out), "migration")}`,
    },
  ],
  ["lift", { arguments: 1, run: async (file) => `${file}: ${counted(await liftFile(file), "trigger")} lifted` }],
]);

/** Runs the command and returns the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  let parsed;
  try {
    parsed = parseArgs({ args: [...args], allowPositionals: true, options: { help: { type: "boolean", short: "h" } } });
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    return 2;
  }
  const [name = "", ...rest] = parsed.positionals;
  const [one = "", two = ""] = rest;
  if (parsed.values.help) {
    process.stdout.write(usage);
    return 0;
  }
  const command = commands.get(name);
  if (command === undefined || rest.length !== command.arguments) {
    process.stderr.write(usage);
    return 2;
  }
  try {
    process.stdout.write(`${await command.run(one, two)}\n`);
    return 0;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
