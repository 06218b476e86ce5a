// Look at: the local database of one person in this browser, and the sync client beside it. Nothing opens before it is used.
import { createTRPCClient, httpBatchLink } from "@trpc/client";
import { createSyncClient, openBrowserDatabase } from "drizzle-sync/client";
import { type LiveQuery, useLiveQuery, useSync } from "drizzle-sync/react";
import { useSearchParams } from "next/navigation";
import { createContext, useContext } from "react";
import superjson from "superjson";
import type { AppRouter } from "@/server/router";
import type { Person } from "@/shared/queries";
import { sync } from "@/shared/sync";

function openDevice(userId: string) {
  const db = openBrowserDatabase({
    // Each person has a database of their own, so that one's unsent changes are never sent in another's name.
    name: `tandem-${userId}`,
    sync,
    worker: () => new Worker(new URL("./db.worker.ts", import.meta.url), { type: "module" }),
  });
  return { db, client: createSyncClient({ db }) };
}

type Device = ReturnType<typeof openDevice>;
const devices = new Map<string, Device>();

export function deviceOf(userId: string): Device {
  let device = devices.get(userId);
  if (!device) devices.set(userId, (device = openDevice(userId)));
  return device;
}

/** Procedures of the server that are not sync: making, sharing and removing lists. */
export const trpc = createTRPCClient<AppRouter>({
  links: [httpBatchLink({ url: "/api/trpc", transformer: superjson })],
});

interface Session extends Device {
  readonly me: Person;
  readonly people: readonly Person[];
  /** Runs a write to the local database. Drizzle's queries do nothing until somebody waits for them. */
  readonly save: (query: PromiseLike<unknown>) => void;
}

export const SessionContext = createContext<Session | null>(null);

/** The signed-in person, everybody else, and the local database. */
export function useSession() {
  const session = useContext(SessionContext);
  if (!session) throw new Error("`useSession` is called outside of the app.");
  return session;
}

/** Live rows of the local database. Before the first sync has filled it, those that the server rendered. */
export function useRows<T>(query: LiveQuery<T>, initial?: NoInfer<T>): T | undefined {
  const { cursor } = useSync();
  const { data } = useLiveQuery(query, initial === undefined ? {} : { initial });
  return cursor === undefined ? initial : data;
}

/** What the address says is shown. It changes without asking the server, so it also works offline. */
export function useAddress() {
  const params = useSearchParams();
  return {
    listId: params.get("list") ?? undefined,
    taskId: params.get("task") ?? undefined,
    show(listId: string | undefined, taskId?: string) {
      const next = new URLSearchParams();
      if (listId) next.set("list", listId);
      if (taskId) next.set("task", taskId);
      window.history.pushState(null, "", `?${next}`);
    },
  };
}
