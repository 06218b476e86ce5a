// Look at: adding and ticking are plain Drizzle writes to the local database. There is no loading state and no cache to update.
"use client";

import { eq } from "drizzle-orm";
import { useRef } from "react";
import { useAddress, useRows, useSession } from "@/browser/device";
import { type Initial, type List, membersOf, type Task, todosOf } from "@/shared/queries";
import { lists, todos } from "@/shared/schema";
import { ShareButton } from "./lists";
import { Avatar, EditableText, Icon, nameOf } from "./parts";
import { useWaiting } from "./sync-status";

export function TaskList({ list, initial, offline }: { list: List; initial: Initial | undefined; offline: boolean }) {
  const { db, save } = useSession();
  const tasks = useRows(todosOf(db, list.id), initial?.todos);
  const members = useRows(membersOf(db, list.id), initial?.members) ?? [];
  const waiting = useWaiting();
  const open = tasks?.filter((task) => !task.done) ?? [];
  const done = tasks?.filter((task) => task.done) ?? [];

  const rows = (some: Task[]) =>
    some.map((task) => <TaskRow key={task.id} task={task} waiting={waiting.has(task.id)} />);

  return (
    <section className="list" style={{ "--hue": list.hue }} aria-label={list.title}>
      <div className="list-head">
        <h1>
          <EditableText
            label="Name of the list"
            value={list.title}
            onSave={(title) => save(db.update(lists).set({ title }).where(eq(lists.id, list.id)))}
          />
        </h1>
        <ShareButton list={list} members={members} offline={offline} />
      </div>
      <NewTask listId={list.id} />
      {tasks && (
        <>
          {open.length > 0 ? (
            <ul className="tasks">{rows(open)}</ul>
          ) : (
            <p className="empty">
              {done.length > 0
                ? "All done. Well, until somebody thinks of something."
                : "Nothing here yet. The first task is yours to add."}
            </p>
          )}
          {done.length > 0 && (
            <details open className="done">
              <summary>Done · {done.length}</summary>
              <ul className="tasks">{rows(done)}</ul>
            </details>
          )}
        </>
      )}
    </section>
  );
}

function NewTask({ listId }: { listId: string }) {
  const { db, me, save } = useSession();
  const field = useRef<HTMLInputElement>(null);
  return (
    <form
      className="new-task"
      onSubmit={(event) => {
        event.preventDefault();
        const title = field.current?.value.trim();
        if (!title || !field.current) return;
        field.current.value = "";
        save(db.insert(todos).values({ listId, title, createdBy: me.id }));
      }}
    >
      <Icon name="plus" />
      <input ref={field} aria-label="Add a task" placeholder="Add a task" autoComplete="off" enterKeyHint="done" />
      <button>Add</button>
    </form>
  );
}

function TaskRow({ task, waiting }: { task: Task; waiting: boolean }) {
  const { db, people, save } = useSession();
  const address = useAddress();
  const set = (values: Partial<typeof todos.$inferInsert>) =>
    save(db.update(todos).set(values).where(eq(todos.id, task.id)));
  const selected = address.taskId === task.id;
  return (
    <li
      className="task"
      aria-label={task.title}
      data-done={task.done || undefined}
      data-selected={selected || undefined}
    >
      <input
        type="checkbox"
        className="tick"
        aria-label="Done"
        checked={task.done}
        onChange={(event) => set({ done: event.target.checked })}
      />
      <EditableText label="Title" value={task.title} onSave={(title) => set({ title })} />
      <span className="marks">
        {waiting && (
          <span className="waiting" title="Not sent yet: it waits on this device.">
            <Icon name="waiting" />
            <span className="sr-only">Not sent yet</span>
          </span>
        )}
        {task.priority !== "normal" && (
          <span className={`flag ${task.priority}`} title={`Priority: ${task.priority}`}>
            <Icon name="flag" />
            <span className="sr-only">{task.priority} priority</span>
          </span>
        )}
        {task.assigneeId && <Avatar small person={people.find(({ id }) => id === task.assigneeId)} />}
        <button
          className="details"
          aria-label={`Details of ${task.title}`}
          aria-expanded={selected}
          onClick={() => address.show(task.listId, selected ? undefined : task.id)}
        >
          {task.notes && <Icon name="notes" />}
          {task.comments > 0 && (
            <span className="count">
              <Icon name="comment" />
              {task.comments}
            </span>
          )}
          <Icon name="open" />
        </button>
      </span>
      {task.assigneeId && <span className="sr-only">For {nameOf(people, task.assigneeId)}</span>}
    </li>
  );
}
