/** Many devices that only listen: streams held open by one process. */
import { Agent, request as httpRequest } from "node:http";
import { createSyncClient, httpTransport } from "drizzle-sync/client";
import { decodeCbor, encodeCbor } from "drizzle-sync/protocol";
import { serve } from "../remote.ts";
import { openFile, openOurs, type Variant } from "./database.ts";

const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });
const received: number[] = [];

/** What a real device asks its stream with, and its headers. */
async function streamRequest(file: string, url: string): Promise<Readonly<Record<string, unknown>>> {
  const db = openOurs(openFile(file));
  const asked: Uint8Array[] = [];
  const client = createSyncClient({
    db,
    transport: httpTransport({
      url,
      compress: false,
      fetch(target, init) {
        if (target.endsWith("/v1/stream")) asked.push(init.body as Uint8Array);
        return fetch(target, init);
      },
    }),
  });
  client.start();
  await client.sync();
  while (asked.length === 0) await new Promise((resolve) => setTimeout(resolve, 50));
  await client.close();
  return decodeCbor(asked[0] as Uint8Array) as Readonly<Record<string, unknown>>;
}

function listen(index: number, url: string, body: Uint8Array | undefined): Promise<void> {
  received[index] = 0;
  return new Promise((resolve, reject) => {
    const message = httpRequest(
      body === undefined ? `${url}/stream` : `${url}/v1/stream`,
      {
        agent,
        method: body === undefined ? "GET" : "POST",
        headers: { "content-type": "application/cbor", accept: "application/x-sync-frames" },
      },
      (response) => {
        if (response.statusCode !== 200)
          reject(new Error(`A stream was answered with ${String(response.statusCode)}.`));
        response.on("data", (chunk: Buffer) => (received[index] = (received[index] ?? 0) + chunk.byteLength));
        resolve();
      },
    );
    message.on("error", reject).end(body);
  });
}

const commands = {
  /** Opens this many streams. */
  async listen(variant: Variant, file: string, url: string, count: number): Promise<void> {
    const asked = variant === "ours" ? await streamRequest(file, url) : undefined;
    const own = String(asked?.["deviceId"]);
    for (let i = 0; i < count; i++) {
      const deviceId = i.toString(16).padStart(8, "0") + own.slice(8);
      await listen(i, url, asked && encodeCbor({ ...asked, deviceId }));
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
    received.fill(0);
  },
  /** Bytes that each stream brought. */
  received: (): readonly number[] => received,
};
export type AudienceCommands = typeof commands;

serve(commands);
