// Look at: the address names the list and the task, and every query is the browser's own, begun with the server's rows.
"use client";

import { SyncProvider } from "drizzle-sync/react";
import { Component, type ReactNode, Suspense, useEffect, useMemo, useState } from "react";
import { deviceOf, SessionContext, useAddress, useRows, useSession } from "@/browser/device";
import { allPeople, type Initial, listsOf, type Person } from "@/shared/queries";
import { Sidebar } from "./lists";
import { Outcomes } from "./outcomes";
import { Icon } from "./parts";
import { SyncBar, useWorkOffline } from "./sync-status";
import { TaskList } from "./task-list";
import { TaskPanel } from "./task-panel";

interface Props {
  me: Person;
  initial: Initial;
  signOut: () => Promise<void>;
}

export function App(props: Props) {
  return (
    <Failure>
      <SyncProvider client={deviceOf(props.me.id).client}>
        <Session {...props} />
      </SyncProvider>
    </Failure>
  );
}

/** A browser may refuse storage, in some private windows for instance. Never does the app go on as if it were saving. */
class Failure extends Component<{ children: ReactNode }, { error?: Error }> {
  override state: { error?: Error } = {};

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    const { error } = this.state;
    if (!error) return this.props.children;
    return (
      <main className="sign-in" role="alert">
        <h1 className="wordmark">Tandem</h1>
        <p>Your lists could not be opened in this browser.</p>
        <p className="hint">{error.message}</p>
        <button className="primary" onClick={() => location.reload()}>
          Try again
        </button>
      </main>
    );
  }
}

function Session({ me, initial, signOut }: Props) {
  const { db, client } = deviceOf(me.id);
  const people = useRows(allPeople(db), initial.people) ?? initial.people;
  const [problem, setProblem] = useState("");
  const session = useMemo(() => {
    /** Runs a write. The local database refuses one only when it is full or broken, and then the person must know. */
    const save = (query: PromiseLike<unknown>) =>
      query.then(
        () => setProblem(""),
        (error: unknown) =>
          setProblem(`This could not be saved on this device. ${error instanceof Error ? error.message : ""}`),
      );
    return { db, client, me, people, save };
  }, [db, client, me, people]);
  usePageOffline();
  useSamePerson(me.id);
  return (
    <SessionContext value={session}>
      <Suspense>
        <Workspace initial={initial} signOut={signOut} />
      </Suspense>
      {problem && (
        <p className="toast" role="alert">
          {problem}
        </p>
      )}
    </SessionContext>
  );
}

function Workspace({ initial, signOut }: Omit<Props, "me">) {
  const { db, me } = useSession();
  const address = useAddress();
  const [menu, setMenu] = useState(false);
  const [offline, setOffline] = useWorkOffline();
  const lists = useRows(listsOf(db, me.id), initial.lists) ?? initial.lists;
  const list = address.listId ? lists.find(({ id }) => id === address.listId) : lists[0];
  const open = list !== undefined && address.taskId !== undefined;

  return (
    <div
      className="app"
      data-menu={menu || undefined}
      data-panel={open || undefined}
      data-offline={offline || undefined}
    >
      <Sidebar lists={lists} current={list?.id} offline={offline} onPick={() => setMenu(false)} signOut={signOut} />
      <button className="scrim" aria-label="Close the menu" tabIndex={menu ? 0 : -1} onClick={() => setMenu(false)} />
      <header className="topbar">
        <button
          className="icon-button menu-button"
          aria-label="Lists"
          aria-expanded={menu}
          onClick={() => setMenu(!menu)}
        >
          <Icon name="menu" />
        </button>
        <SyncBar offline={offline} setOffline={setOffline} />
        <Outcomes />
      </header>
      <main className="main">
        {list ? (
          <TaskList
            key={list.id}
            list={list}
            initial={list.id === initial.listId ? initial : undefined}
            offline={offline}
          />
        ) : (
          <div className="empty">
            <h1>{address.listId ? "This list is not here" : "No lists yet"}</h1>
            <p>
              {address.listId
                ? "It was removed, or it is no longer shared with you."
                : "Make your first one in the menu."}
            </p>
          </div>
        )}
      </main>
      {open && (
        <TaskPanel
          key={address.taskId}
          list={list}
          taskId={address.taskId ?? ""}
          initial={list.id === initial.listId ? initial.todos : undefined}
        />
      )}
    </div>
  );
}

/** Keeps the page itself for a reload without a network. The data needs no such thing: it is in the local database. */
function usePageOffline() {
  useEffect(() => {
    if (process.env.NODE_ENV !== "production" || !("serviceWorker" in navigator)) return;
    navigator.serviceWorker
      .register("/sw.js")
      .catch((error: unknown) => console.warn("This page will not reload without a network.", error));
    void navigator.serviceWorker.ready.then(({ active }) => active?.postMessage("keep"));
  }, []);
}

/** Another tab signed in as somebody else: the cookie is theirs now, so this tab must not go on as before. */
function useSamePerson(userId: string) {
  useEffect(() => {
    localStorage.setItem("person", userId);
    const changed = (event: StorageEvent) => {
      if (event.key === "person" && event.newValue !== userId) location.reload();
    };
    window.addEventListener("storage", changed);
    return () => window.removeEventListener("storage", changed);
  }, [userId]);
}
