// Look at: nothing is lost in a conflict. What was set aside or refused waits here, with both versions, until its author decides.
"use client";

import type { Outcome, PendingOperation } from "drizzle-sync/client";
import { useOutcomes } from "drizzle-sync/react";
import { useRef } from "react";
import { useSession } from "@/browser/device";
import { Icon, nameOf } from "./parts";

const kinds: Record<string, string> = { lists: "list", todos: "task", comments: "comment" };
const labels: Record<string, string> = {
  title: "Title",
  notes: "Notes",
  done: "Done",
  priority: "Priority",
  assigneeId: "Who",
  body: "Text",
};

type Values = Readonly<Record<string, unknown>>;

/** One row on which two versions met, or one that was refused. */
interface Case {
  table: string;
  key: Values;
  columns: readonly string[];
  yours: Values | null;
  theirs: Values | null;
  /** Which version stands. */
  stands: "yours" | "theirs" | "merged" | "refused";
}

function casesOf(outcome: Outcome): Case[] {
  if (outcome.status === "merged") {
    return outcome.conflicts.map(({ table, key, columns, client, server, winner }) => {
      const stands = winner === "client" ? "yours" : winner === "server" ? "theirs" : winner;
      return { table, key, columns, yours: client, theirs: server ?? null, stands };
    });
  }
  return outcome.operations.map(({ table, key, values }) => {
    const columns = Object.keys(values).filter((column) => column in labels && values[column]);
    return { table, key, columns, yours: values, theirs: null, stands: "refused" };
  });
}

export function Outcomes() {
  const outcomes = useOutcomes();
  const dialog = useRef<HTMLDialogElement>(null);
  return (
    <>
      <button
        className="outcomes-button"
        data-some={outcomes.length > 0 || undefined}
        onClick={() => dialog.current?.showModal()}
      >
        Set aside <span className="count">{outcomes.length}</span>
      </button>
      <dialog
        ref={dialog}
        className="dialog drawer"
        aria-label="Set aside"
        onClick={(event) => event.target === dialog.current && dialog.current.close()}
      >
        <div className="dialog-body">
          <header>
            <h2>Set aside</h2>
            <button className="icon-button" aria-label="Close" onClick={() => dialog.current?.close()}>
              <Icon name="close" />
            </button>
          </header>
          {outcomes.length === 0 && (
            <p className="empty">
              Nothing here. When you and somebody else change the same thing at the same time, one version stands and
              the other is kept here for you.
            </p>
          )}
          {outcomes.map((outcome) => (
            <OutcomeCard key={outcome.id} outcome={outcome} />
          ))}
        </div>
      </dialog>
    </>
  );
}

function OutcomeCard({ outcome }: { outcome: Outcome }) {
  const { client, people, save } = useSession();
  const cases = casesOf(outcome);
  const refused = outcome.status === "rejected";
  const retry = (operations: readonly PendingOperation[]) =>
    save(client.outcomes.resolve(outcome.id, { retry: operations }));

  const show = (column: string, values: Values) => {
    const value = values[column];
    if (column === "assigneeId") return value ? nameOf(people, String(value)) : "Nobody";
    if (column === "done") return value ? "Yes" : "No";
    return String(value ?? "") || "(empty)";
  };

  /** The other version, as the edit that it is: it is sent, and judged, like any other. */
  const swapped = cases.flatMap(({ table, key, columns, yours, theirs, stands }): PendingOperation[] => {
    const [values, before] = stands === "yours" ? [theirs, yours] : [yours, theirs];
    if (!values || !before || columns.length === 0) return [];
    const pick = (row: Values) => Object.fromEntries(columns.map((column) => [column, row[column]]));
    return [{ table, kind: "update", key, values: pick(values), before: pick(before) }];
  });

  return (
    <article className="outcome">
      {cases.map((one) => (
        <div key={JSON.stringify([one.table, one.key])}>
          <h3>
            {String(one.theirs?.["title"] ?? one.yours?.["title"] ?? one.yours?.["body"] ?? `A ${kinds[one.table]}`)}
          </h3>
          <p>{explain(one, refused ? outcome.message : "")}</p>
          <dl className="versions">
            {one.columns.flatMap((column) =>
              (["yours", "theirs"] as const).map(
                (whose) =>
                  one[whose] && (
                    <div key={column + whose} data-stands={one.stands === whose || undefined}>
                      <dt>
                        {labels[column] ?? column}, {whose} <em>{one.stands === whose ? "stands" : "set aside"}</em>
                      </dt>
                      <dd>{show(column, one[whose] ?? {})}</dd>
                    </div>
                  ),
              ),
            )}
          </dl>
        </div>
      ))}
      <p className="actions">
        {refused && (
          <button className="primary" onClick={() => retry(outcome.operations)}>
            Try again
          </button>
        )}
        {swapped.length > 0 && (
          <button className="primary" onClick={() => retry(swapped)}>
            {cases[0]?.stands === "yours" ? "Use theirs" : "Use mine"}
          </button>
        )}
        <button className="quiet" onClick={() => save(client.outcomes.resolve(outcome.id, "discard"))}>
          {refused ? "Discard" : "Leave it so"}
        </button>
      </p>
    </article>
  );
}

function explain({ stands, yours, columns, table }: Case, message: string) {
  if (stands === "refused") return `The server refused this. ${message}`;
  if (!yours)
    return `You deleted this ${kinds[table]} while somebody changed it. ${stands === "yours" ? "It is gone." : "It was kept."}`;
  if (columns.length === 0) return `Somebody deleted this ${kinds[table]} while you changed it.`;
  if (stands === "yours") return "You both changed this. Yours is the later one and stands.";
  return "Somebody changed this before your change arrived. Theirs stands, yours is kept here.";
}
