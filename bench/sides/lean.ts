/**
 * The leanest program: what each benchmark's two processes cannot do without, and nothing of ours. Prepared statements,
 * cbor-x, Node's `http`.
 */
import { Agent, get, request, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import type Database from "better-sqlite3";
import { decode, Encoder } from "cbor-x";
import { changeSql, insertSql, type StoredTodo } from "../data.ts";
import { sharedNow } from "../remote.ts";

const encoder = new Encoder({ useRecords: false, mapsAsObjects: true, tagUint8Array: false });
const agent = new Agent({ keepAlive: true });

const streams = new Set<ServerResponse>();

/** Writes as many bytes to every stream. */
export function leanBroadcast(bytes: number): void {
  const frame = Buffer.alloc(bytes, 7);
  for (const stream of streams) stream.write(frame);
}

/** `/rows/KEY`: rows after a key. `/changes/TIME`: what changed after a time. `/write`: one row. `/stream`: rows as they come. */
export function leanServer(sqlite: Database.Database): RequestListener {
  sqlite.exec("CREATE INDEX IF NOT EXISTS todos_updated ON todos (updated_at)");
  const rows = sqlite.prepare("SELECT * FROM todos WHERE id > ? ORDER BY id LIMIT 5000").raw();
  const changes = sqlite
    .prepare("SELECT title, done, updated_at, id FROM todos WHERE updated_at > ? ORDER BY updated_at LIMIT 5000")
    .raw();
  const insert = sqlite.prepare(insertSql);
  return (message, response) => {
    const [, endpoint, argument = ""] = (message.url ?? "").split("/");
    switch (endpoint) {
      case "rows":
        response.end(encoder.encode(rows.all(decodeURIComponent(argument))));
        return;
      case "changes":
        response.end(encoder.encode(changes.all(Number(argument))));
        return;
      case "stream":
        streams.add(response.writeHead(200));
        response.flushHeaders();
        return;
      case "write":
        void readBody(message).then((body) => {
          insert.run(...(decode(body) as StoredTodo));
          for (const stream of streams) stream.write(framed(body));
          response.end();
        });
        return;
      default:
        response.writeHead(404).end();
    }
  };
}

/** Takes all rows into an empty table. */
export async function leanBootstrap(sqlite: Database.Database, url: string): Promise<void> {
  const insert = sqlite.prepare(insertSql);
  const store = sqlite.transaction((page: readonly StoredTodo[]) => {
    for (const row of page) insert.run(...row);
  });
  let page = await fetchArray<StoredTodo>(`${url}/rows/`);
  while (page.length > 0) {
    // The next page is on its way while this one is written.
    const next = fetchArray<StoredTodo>(`${url}/rows/${encodeURIComponent((page.at(-1) as StoredTodo)[0])}`);
    store(page);
    page = await next;
  }
}

type Change = readonly [title: string, done: number, updatedAt: number, id: string];

/** Takes what changed since the newest row of the table, all in one transaction. */
export async function leanCatchUp(sqlite: Database.Database, url: string): Promise<void> {
  let since = Number(sqlite.prepare("SELECT max(updated_at) FROM todos").pluck().get());
  const update = sqlite.prepare(changeSql);
  sqlite.exec("BEGIN");
  for (;;) {
    const page = await fetchArray<Change>(`${url}/changes/${since}`);
    for (const change of page) update.run(...change);
    if (page.length === 0) break;
    since = (page.at(-1) as Change)[2];
  }
  sqlite.exec("COMMIT");
}

/** Writes a row here, then on the server. */
export async function leanWrite(sqlite: Database.Database, url: string, row: StoredTodo): Promise<void> {
  sqlite.prepare(insertSql).run(...row);
  await new Promise<void>((resolve, reject) => {
    const message = request(`${url}/write`, { method: "POST", agent }, (response) => {
      response.resume().on("end", resolve);
    });
    message.on("error", reject).end(encoder.encode(row));
  });
}

/** Takes rows as they come; tells of each when it is committed. */
export function leanFollow(
  sqlite: Database.Database,
  url: string,
  onRow: (id: string, at: number) => void,
): Promise<void> {
  const insert = sqlite.prepare(insertSql);
  return new Promise((resolve, reject) => {
    get(`${url}/stream`, (response) => {
      let rest: Buffer = Buffer.alloc(0);
      response.on("data", (chunk: Buffer) => {
        rest = Buffer.concat([rest, chunk]);
        while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32BE(0)) {
          const end = 4 + rest.readUInt32BE(0);
          const row = decode(rest.subarray(4, end)) as StoredTodo;
          rest = rest.subarray(end);
          insert.run(...row);
          onRow(row[0], sharedNow());
        }
      });
      resolve();
    }).on("error", reject);
  });
}

function fetchArray<T>(url: string): Promise<readonly T[]> {
  return new Promise((resolve, reject) => {
    get(url, { agent }, (response) => {
      readBody(response).then((body) => resolve(decode(body) as readonly T[]), reject);
    }).on("error", reject);
  });
}

async function readBody(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function framed(body: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
}
