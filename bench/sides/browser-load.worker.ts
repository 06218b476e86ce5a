/** The fastest local load: the same file, the same rows, `json_each` in chunks, and nothing else. */
import { openDatabaseFile } from "../../src/client/browser/sqlite/open-database.ts";
import { loadSqlite } from "../../src/client/browser/sqlite/load-sqlite.ts";
import { createTables } from "../data.ts";

const chunkRows = 2000;

const insertChunk = `INSERT INTO todos SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
  value ->> 6, value ->> 7 FROM json_each(?)`;

self.addEventListener("message", ({ data: name }: MessageEvent<string>) => {
  void (async () => {
    const rows = (await (await fetch("/api/rows")).json()) as readonly unknown[];
    const chunks: string[] = [];
    for (let i = 0; i < rows.length; i += chunkRows) chunks.push(JSON.stringify(rows.slice(i, i + chunkRows)));
    const { connection, close } = await openDatabaseFile(await loadSqlite(), name);
    for (const statement of createTables.split(";")) if (statement.trim() !== "") connection.script(statement);
    const started = performance.now();
    connection.script("BEGIN");
    for (const chunk of chunks) connection.run(insertChunk, [chunk]);
    connection.script("COMMIT");
    const ms = performance.now() - started;
    const count = Number(connection.all("SELECT count(*) FROM todos", [])[0]?.[0]);
    close();
    self.postMessage({ ms, rows: count });
  })();
});
