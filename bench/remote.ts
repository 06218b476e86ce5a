/**
 * Programs of a benchmark in processes of their own: a child serves commands, its parent calls them.
 */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";

type Commands = Readonly<Record<string, (...args: never[]) => unknown>>;

interface Call {
  readonly id: number;
  readonly name: string;
  readonly args: readonly unknown[];
}

interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

/** A program that runs in another process. */
export interface Remote<TCommands extends Commands> {
  call<TName extends keyof TCommands & string>(
    name: TName,
    ...args: Parameters<TCommands[TName]>
  ): Promise<Awaited<ReturnType<TCommands[TName]>>>;
  /** Lets it end by itself. */
  stop(): Promise<void>;
}

/** Starts a program of this folder. */
export function startRemote<TCommands extends Commands>(file: string): Remote<TCommands> {
  const child = fork(new URL(file, import.meta.url), [], {
    execArgv: ["--expose-gc", "--import", fileURLToPath(new URL("../.ci/typescript.mjs", import.meta.url))],
    serialization: "advanced",
  });
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  let calls = 0;
  child.on("message", (message) => {
    const { id, result, error } = message as Answer;
    const caller = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) caller?.resolve(result);
    else caller?.reject(new Error(`${file}: ${error}`));
  });
  const ended = new Promise<void>((resolve) => {
    child.once("exit", (code) => {
      for (const { reject } of waiting.values()) reject(new Error(`${file} ended with exit code ${String(code)}.`));
      resolve();
    });
  });
  return {
    call: (name, ...args) =>
      new Promise((resolve, reject) => {
        const id = calls++;
        waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
        child.send({ id, name, args } satisfies Call);
      }),
    async stop() {
      child.disconnect();
      await ended;
    },
  };
}

/** Starts a program for one piece of work. */
export async function runRemote<TCommands extends Commands, T>(
  file: string,
  work: (remote: Remote<TCommands>) => Promise<T>,
): Promise<T> {
  const remote = startRemote<TCommands>(file);
  try {
    return await work(remote);
  } finally {
    await remote.stop();
  }
}

/** Serves a process's commands until its parent lets it end. */
export function serve(commands: Commands): void {
  process.on("message", (message) => {
    const { id, name, args } = message as Call;
    const answer = (part: Omit<Answer, "id">): void => void process.send?.({ id, ...part });
    Promise.resolve()
      .then(() => (commands[name] as (...args: unknown[]) => unknown)(...args))
      .then(
        (result) => answer({ result }),
        (error: unknown) => answer({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
      );
  });
  process.on("disconnect", () => process.exit());
}

/** Milliseconds of processor time that this process has used. */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Resident memory, in MB of 2^20 bytes: now, and the most there was. */
export function memory(): { readonly now: number; readonly peak: number } {
  return { now: process.memoryUsage().rss / 2 ** 20, peak: process.resourceUsage().maxRSS / 1024 };
}

/** Milliseconds on a clock that all processes of the machine share. */
export const sharedNow = (): number => Number(process.hrtime.bigint()) / 1e6;
