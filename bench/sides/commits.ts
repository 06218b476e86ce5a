/** One-row transactions on a database like the server's, with nothing of ours: what the machine allows. */
import { insertSql, type StoredTodo } from "../data.ts";
import { cpuMs, serve } from "../remote.ts";
import { closeFile, openFile } from "./database.ts";
import type { Took } from "./device.ts";

const commands = {
  commit(file: string, rows: readonly StoredTodo[]): Took {
    const sqlite = openFile(file);
    const insert = sqlite.prepare(insertSql);
    const cpu = cpuMs();
    const started = performance.now();
    for (const row of rows) insert.run(...row);
    const took = { ms: performance.now() - started, cpuMs: cpuMs() - cpu };
    closeFile(sqlite);
    return took;
  },
};
export type CommitCommands = typeof commands;

serve(commands);
