// Look at: who has a list is decided on the server. Each procedure returns a cursor, and `client.reached` waits for it.
"use client";

import { useRef, useState } from "react";
import { trpc, useAddress, useSession } from "@/browser/device";
import type { List } from "@/shared/queries";
import { Avatar, Icon, SureButton } from "./parts";

export function Sidebar(props: {
  lists: readonly List[];
  current: string | undefined;
  offline: boolean;
  onPick: () => void;
  signOut: () => Promise<void>;
}) {
  const { lists, current, offline, onPick } = props;
  const { me } = useSession();
  const address = useAddress();
  return (
    <aside className="sidebar">
      <p className="wordmark">Tandem</p>
      <nav aria-label="Lists">
        <ul>
          {lists.map((list) => (
            <li key={list.id}>
              <a
                href={`?list=${list.id}`}
                aria-current={list.id === current ? "page" : undefined}
                style={{ "--hue": list.hue }}
                onClick={(event) => {
                  if (event.metaKey || event.ctrlKey || event.shiftKey) return;
                  event.preventDefault();
                  address.show(list.id);
                  onPick();
                }}
              >
                <span className="dot" />
                <span className="list-name">{list.title}</span>
                <span className="count" aria-label={`${list.open} open`}>
                  {list.open || ""}
                </span>
              </a>
            </li>
          ))}
        </ul>
        <NewList offline={offline} onMade={onPick} />
      </nav>
      <form action={props.signOut} className="me" onSubmit={() => void caches.delete("page")}>
        <Avatar person={me} />
        <span className="name">{me.name}</span>
        <button className="quiet">Switch person</button>
      </form>
    </aside>
  );
}

function NewList({ offline, onMade }: { offline: boolean; onMade: () => void }) {
  const { client } = useSession();
  const address = useAddress();
  const [problem, setProblem] = useState("");

  async function make(form: FormData) {
    const title = form.get("title");
    if (typeof title !== "string" || !title.trim()) return;
    const listId = crypto.randomUUID();
    try {
      const { cursor } = await trpc.lists.create.mutate({ listId, title, hue: Math.floor(Math.random() * 360) });
      await client.reached(cursor);
      setProblem("");
      address.show(listId);
      onMade();
    } catch {
      setProblem("The server could not be reached. Lists are made there, tasks anywhere.");
    }
  }

  return (
    <form action={make} className="new-list">
      <Icon name="plus" />
      <input
        name="title"
        aria-label="New list"
        placeholder={offline ? "New list (when online)" : "New list"}
        maxLength={80}
        autoComplete="off"
        disabled={offline}
      />
      {problem && <p role="alert">{problem}</p>}
    </form>
  );
}

export function ShareButton({
  list,
  members,
  offline,
}: {
  list: List;
  members: readonly { userId: string }[];
  offline: boolean;
}) {
  const { client, me, people } = useSession();
  const address = useAddress();
  const dialog = useRef<HTMLDialogElement>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const isMember = (id: string) => members.some(({ userId }) => userId === id);
  const owner = list.ownerId === me.id;

  async function ask(procedure: () => Promise<{ cursor: string }>, done?: () => void) {
    setBusy(true);
    setProblem("");
    try {
      const { cursor } = await procedure();
      await client.reached(cursor);
      done?.();
    } catch {
      setProblem("The server could not be reached. Who shares a list is decided there.");
    } finally {
      setBusy(false);
    }
  }

  return (
    <>
      <button className="share" onClick={() => dialog.current?.showModal()}>
        <span className="avatars">
          {people
            .filter(({ id }) => isMember(id))
            .map((person) => (
              <Avatar key={person.id} person={person} small />
            ))}
        </span>
        Share
      </button>
      <dialog
        ref={dialog}
        className="dialog"
        aria-label="Who shares this list"
        onClick={(event) => event.target === dialog.current && dialog.current.close()}
      >
        <div className="dialog-body">
          <header>
            <h2>Who shares “{list.title}”</h2>
            <button className="icon-button" aria-label="Close" onClick={() => dialog.current?.close()}>
              <Icon name="close" />
            </button>
          </header>
          <ul className="sharing">
            {people.map((person) => {
              const member = isMember(person.id);
              const mayChange = person.id !== list.ownerId && (!member || owner || person.id === me.id);
              const input = { listId: list.id, userId: person.id };
              return (
                <li key={person.id}>
                  <Avatar person={person} />
                  <span className="name">
                    {person.name}
                    {person.id === me.id && " (you)"}
                    {person.id === list.ownerId && <small>Owner</small>}
                  </span>
                  {mayChange && (
                    <button
                      className={member ? "quiet" : "primary"}
                      disabled={busy || offline}
                      onClick={() =>
                        void ask(() => (member ? trpc.lists.unshare.mutate(input) : trpc.lists.share.mutate(input)))
                      }
                    >
                      {member ? (person.id === me.id ? "Leave" : "Remove") : "Share"}
                      <span className="sr-only"> {person.name}</span>
                    </button>
                  )}
                </li>
              );
            })}
          </ul>
          <p className="hint" role="status">
            {problem ||
              (offline
                ? "Sharing needs the server: it can be changed when you are online."
                : "They see the list at once, with its tasks and comments.")}
          </p>
          {owner && (
            <SureButton
              question="Really delete it, for everybody?"
              disabled={busy || offline}
              onSure={() =>
                void ask(
                  () => trpc.lists.remove.mutate({ listId: list.id }),
                  () => address.show(undefined),
                )
              }
            >
              Delete the list
            </SureButton>
          )}
        </div>
      </dialog>
    </>
  );
}
