/**
 * An HTTP server in a thread of its own, which says in shared memory that a request has come, and answers nothing useful: so
 * that a test sees whether a request is sent while its own thread is held.
 *
 * @module
 */

import { once } from "node:events";
import { Worker } from "node:worker_threads";

export interface ThreadServer extends AsyncDisposable {
  readonly url: string;
  /** Holds this thread until a whole request has come since the last call. Whether one came within ten seconds. */
  holdUntilAsked(): boolean;
}

const source = `
const { workerData, parentPort } = require("node:worker_threads");
require("node:http")
  .createServer((request, response) => request.resume().on("end", () => {
    Atomics.store(workerData, 0, 1);
    Atomics.notify(workerData, 0);
    response.writeHead(200, { "content-type": "application/cbor" }).end(Buffer.from([0xf6]));
  }))
  .listen(0, "127.0.0.1", function () { parentPort.postMessage(this.address().port); });
`;

/** Starts it. */
export async function startThreadServer(): Promise<ThreadServer> {
  const asked = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(source, { eval: true, workerData: asked });
  const [port] = (await once(worker, "message")) as [number];
  return {
    url: `http://127.0.0.1:${port}`,
    holdUntilAsked() {
      const hasCome = Atomics.wait(asked, 0, 0, 10_000) !== "timed-out";
      Atomics.store(asked, 0, 0);
      return hasCome;
    },
    [Symbol.asyncDispose]: async () => void (await worker.terminate()),
  };
}
