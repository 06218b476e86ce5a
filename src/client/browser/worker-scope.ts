/**
 * The parts of a dedicated worker's scope that we use. The `webworker` library of TypeScript would change the globals of
 * the whole program.
 *
 * @module
 */

/** A lock as the Web Locks API describes it in `query()`. */
export interface HeldLock {
  readonly name?: string;
}

/** The Web Locks API. */
export interface WorkerLocks {
  request<T>(name: string, callback: () => T | Promise<T>): Promise<T>;
  request<T>(name: string, options: { readonly signal: AbortSignal }, callback: () => T | Promise<T>): Promise<T>;
  query(): Promise<{ readonly held?: readonly HeldLock[] }>;
}

/** A channel to all workers of the origin. */
export interface WorkerChannel {
  listen(listener: (data: unknown) => void): void;
  postMessage(message: unknown): void;
  close(): void;
}

/** What the host needs of the world around it; tests give their own. */
export interface WorkerScope {
  /** To and from the page. */
  listen(listener: (data: unknown) => void): void;
  postMessage(message: unknown): void;
  readonly locks: WorkerLocks;
  openChannel(name: string): WorkerChannel;
  /** Ends the worker. */
  close(): void;
}

interface DedicatedWorkerGlobal {
  addEventListener(type: "message", listener: (event: { readonly data: unknown }) => void): void;
  postMessage(message: unknown): void;
  close(): void;
}

/** The scope of the dedicated worker that this code runs in. */
export function dedicatedWorkerScope(): WorkerScope {
  // The DOM library describes a window here; in a worker the global object is the worker's scope.
  const global = globalThis as unknown as DedicatedWorkerGlobal;
  if (!("postMessage" in globalThis) || !("BroadcastChannel" in globalThis) || !navigator.locks) {
    throw new Error(
      "`startSyncWorker` runs in a dedicated worker of a browser, on a secure page (https or localhost).",
    );
  }
  return {
    listen: (listener) => global.addEventListener("message", ({ data }) => listener(data)),
    postMessage: (message) => global.postMessage(message),
    locks: navigator.locks,
    openChannel: (name) => {
      const channel = new BroadcastChannel(name);
      return {
        listen: (listener) =>
          channel.addEventListener("message", ({ data }: { readonly data: unknown }) => listener(data)),
        postMessage: (message) => channel.postMessage(message),
        close: () => channel.close(),
      };
    },
    close: () => global.close(),
  };
}
