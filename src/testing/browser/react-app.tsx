/** The React app of the browser tests, rendered on the server of the test and hydrated by `react-page.tsx`. */

import { asc, eq } from "drizzle-orm";
import { Suspense, useState, type ReactElement } from "react";
import { openBrowserDatabase } from "../../client/browser/open-browser-database.ts";
import { createSyncClient } from "../../client/client.ts";
import { SyncProvider } from "../../client/react/sync-provider.ts";
import { useLiveQuery } from "../../client/react/use-live-query.ts";
import { useOutcomes } from "../../client/react/use-outcomes.ts";
import { usePending } from "../../client/react/use-pending.ts";
import { useSync } from "../../client/react/use-sync.ts";
import { lists, sync, todos } from "./web-schema.ts";

/** At the top level of a module, as an app has it: nothing is opened on the server. */
export const db = openBrowserDatabase({
  name: "react",
  sync,
  worker: () => new Worker(new URL("./web.worker.js", import.meta.url), { type: "module" }),
});
export const client = createSyncClient({ db, token: () => "ann" });

/** What the server knew when it rendered. */
export const initial = [{ id: "s1", listId: "l", title: "From the server", done: false, rank: 0 }];

/** Titles that were looked for when `initial`, which belongs to another query, was shown. */
export const misplaced: string[] = [];

export function App(): ReactElement {
  return (
    <SyncProvider client={client}>
      <Todos />
      <Status />
      <Suspense fallback={<p id="suspended">waiting</p>}>
        <Titles />
      </Suspense>
    </SyncProvider>
  );
}

function Todos(): ReactElement {
  const [title, setTitle] = useState("");
  const query = db.select().from(todos).orderBy(asc(todos.id));
  const { data, status } = useLiveQuery(title === "" ? query : db.select().from(todos).where(eq(todos.title, title)), {
    initial,
  });
  if (title !== "" && data === initial) misplaced.push(title);
  const off = useLiveQuery(title === "never" && query);
  return (
    <section>
      <input id="filter" value={title} onChange={(event) => setTitle(event.target.value)} />
      <p id="live">{status}</p>
      <p id="off">{off.status}</p>
      <ul id="todos">
        {(data ?? []).map((todo) => (
          <li key={todo.id}>{todo.title}</li>
        ))}
      </ul>
    </section>
  );
}

function Status(): ReactElement {
  const { status, pending } = useSync();
  const waiting = usePending(todos);
  const lists_ = usePending(lists);
  const outcomes = useOutcomes();
  return (
    <p id="status">
      {status} {pending} {waiting.length} {lists_.length} {outcomes.length}
    </p>
  );
}

function Titles(): ReactElement {
  const { data } = useLiveQuery(db.query.lists.findMany({ with: { todos: true } }), { suspense: true });
  return <p id="titles">{data?.map((list) => `${list.title}: ${list.todos.length}`).join(", ")}</p>;
}
