// Look at: notes, priority and person are separate columns, so two people may change them at the same time and keep both.
"use client";

import { eq } from "drizzle-orm";
import { useEffect, useRef } from "react";
import { useAddress, useRows, useSession } from "@/browser/device";
import { commentsOf, type List, type Task, todosOf } from "@/shared/queries";
import { comments, todos } from "@/shared/schema";
import { Avatar, EditableText, Icon, nameOf, SureButton } from "./parts";
import { useWaiting } from "./sync-status";

const when = new Intl.DateTimeFormat("en", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
  hour12: false,
});
const priorities = ["low", "normal", "high"] as const;

export function TaskPanel({ list, taskId, initial }: { list: List; taskId: string; initial: Task[] | undefined }) {
  const { db, people } = useSession();
  const address = useAddress();
  const panel = useRef<HTMLElement>(null);
  const tasks = useRows(todosOf(db, list.id), initial);
  const task = tasks?.find(({ id }) => id === taskId);
  const close = () => address.show(list.id);

  // Keyboard and screen reader go where the eye goes.
  useEffect(() => panel.current?.focus({ preventScroll: true }), []);

  return (
    <aside
      ref={panel}
      className="panel"
      tabIndex={-1}
      aria-label="Task"
      onKeyDown={(event) => {
        if (event.key === "Escape" && !(event.target instanceof HTMLTextAreaElement)) close();
      }}
    >
      <header>
        <button className="icon-button" aria-label="Close the task" onClick={close}>
          <Icon name="back" />
        </button>
        <span>{list.title}</span>
      </header>
      {task ? <Details task={task} onDeleted={close} /> : tasks && <p className="empty">This task was deleted.</p>}
      {task && (
        <p className="meta">
          Added by {nameOf(people, task.createdBy)}, <time suppressHydrationWarning>{when.format(task.createdAt)}</time>
        </p>
      )}
    </aside>
  );
}

function Details({ task, onDeleted }: { task: Task; onDeleted: () => void }) {
  const { db, people, save } = useSession();
  const set = (values: Partial<typeof todos.$inferInsert>) =>
    save(db.update(todos).set(values).where(eq(todos.id, task.id)));
  return (
    <>
      <EditableText className="panel-title" label="Title" value={task.title} onSave={(title) => set({ title })} />
      <label className="field">
        <span>Notes</span>
        <EditableText
          multiline
          label="Notes"
          placeholder="Anything worth knowing"
          value={task.notes}
          onSave={(notes) => set({ notes })}
        />
      </label>
      <div className="field-row">
        <fieldset className="field">
          <legend>Priority</legend>
          <span className="segments">
            {priorities.map((priority) => (
              <label key={priority}>
                <input
                  type="radio"
                  name="priority"
                  checked={task.priority === priority}
                  onChange={() => set({ priority })}
                />
                <span>{priority}</span>
              </label>
            ))}
          </span>
        </fieldset>
        <label className="field">
          <span>Who</span>
          <select value={task.assigneeId ?? ""} onChange={(event) => set({ assigneeId: event.target.value || null })}>
            <option value="">Nobody</option>
            {people.map((person) => (
              <option key={person.id} value={person.id}>
                {person.name}
              </option>
            ))}
          </select>
        </label>
      </div>
      <Comments todoId={task.id} />
      <SureButton
        question="Really delete, with its comments?"
        onSure={() => {
          onDeleted();
          save(db.delete(todos).where(eq(todos.id, task.id)));
        }}
      >
        Delete the task
      </SureButton>
    </>
  );
}

function Comments({ todoId }: { todoId: string }) {
  const { db, me, people, save } = useSession();
  const rows = useRows(commentsOf(db, todoId)) ?? [];
  const waiting = useWaiting();
  const field = useRef<HTMLInputElement>(null);
  return (
    <section className="comments" aria-label="Comments">
      <h2>Comments</h2>
      <ul>
        {rows.map((comment) => (
          <li key={comment.id} aria-label={`Comment by ${nameOf(people, comment.authorId)}`}>
            <Avatar small person={people.find(({ id }) => id === comment.authorId)} />
            <p>
              <strong>{nameOf(people, comment.authorId)}</strong>{" "}
              <time>{waiting.has(comment.id) ? "not sent yet" : when.format(comment.createdAt)}</time>
              <span>{comment.body}</span>
            </p>
          </li>
        ))}
      </ul>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const body = field.current?.value.trim();
          if (!body || !field.current) return;
          field.current.value = "";
          save(db.insert(comments).values({ todoId, body, authorId: me.id }));
        }}
      >
        <Avatar small person={me} />
        <input
          ref={field}
          aria-label="Add a comment"
          placeholder="Add a comment"
          autoComplete="off"
          enterKeyHint="send"
        />
        <button>Send</button>
      </form>
    </section>
  );
}
