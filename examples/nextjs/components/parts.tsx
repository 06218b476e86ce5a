// Look at: `EditableText`, which says so when the text below the cursor was changed by somebody else.
"use client";

import { useId, useRef, useState } from "react";
import type { Person } from "@/shared/queries";

declare module "react" {
  interface CSSProperties {
    "--hue"?: number;
  }
}

export function Avatar({ person, small }: { person: { name: string; hue: number } | undefined; small?: boolean }) {
  return (
    <span
      className={small ? "avatar small" : "avatar"}
      style={{ "--hue": person?.hue ?? 0 }}
      title={person?.name ?? "Somebody"}
      aria-hidden="true"
    >
      {(person?.name ?? "?").slice(0, 1)}
    </span>
  );
}

export const nameOf = (people: readonly Person[], id: string | null) =>
  people.find((person) => person.id === id)?.name ?? "somebody";

const icons = {
  menu: "M4 6.5h16M4 12h16M4 17.5h16",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  flag: "M6 21V4h11l-2 4 2 4H6",
  comment: "M4 5h16v11H9l-5 4z",
  waiting: "M12 19V6M6.5 11.5L12 6l5.5 5.5",
  people:
    "M9 11a3.2 3.2 0 100-6.4A3.2 3.2 0 009 11zM3.5 19c.4-3.2 2.5-4.8 5.5-4.8s5.1 1.6 5.5 4.8M15.5 5a3.2 3.2 0 010 6M17 14.6c2 .5 3.2 2 3.5 4.4",
  trash: "M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7",
  notes: "M5 7h14M5 12h14M5 17h8",
  open: "M9.5 5.5L16 12l-6.5 6.5",
  back: "M14.5 5.5L8 12l6.5 6.5",
};

export function Icon({ name }: { name: keyof typeof icons }) {
  return (
    <svg viewBox="0 0 24 24" className="icon" aria-hidden="true">
      <path d={icons[name]} />
    </svg>
  );
}

/** A button that asks before it destroys something. */
export function SureButton({
  children,
  question,
  disabled,
  onSure,
}: {
  children: string;
  question: string;
  disabled?: boolean;
  onSure: () => void;
}) {
  const [asked, setAsked] = useState(false);
  return (
    <button
      className="danger"
      disabled={disabled}
      onBlur={() => setAsked(false)}
      onClick={() => (asked ? onSure() : setAsked(true))}
    >
      <Icon name="trash" /> {asked ? question : children}
    </button>
  );
}

/** Text that is edited where it stands: saved when it loses the focus or on Enter, given up on Escape. */
export function EditableText(props: {
  value: string;
  label: string;
  onSave: (value: string) => void;
  className?: string;
  placeholder?: string;
  /** Enter starts a new line, and the text may be empty. */
  multiline?: boolean;
}) {
  const { value, multiline } = props;
  // `from` is what stood there when typing began. Until then the field follows the database.
  const [draft, setDraft] = useState<{ text: string; from: string } | null>(null);
  const abandoned = useRef(false);
  const hint = useId();
  const changedBelow = draft !== null && draft.from !== value;

  function finish() {
    const text = multiline ? draft?.text.trimEnd() : draft?.text.replace(/\s+/g, " ").trim();
    if (draft && !abandoned.current && text !== undefined && text !== value && (text || multiline)) props.onSave(text);
    abandoned.current = false;
    setDraft(null);
  }

  return (
    <span className={`editable ${props.className ?? ""}`}>
      <textarea
        rows={multiline ? 3 : 1}
        aria-label={props.label}
        aria-describedby={changedBelow ? hint : undefined}
        placeholder={props.placeholder}
        value={draft?.text ?? value}
        onChange={(event) => setDraft({ text: event.target.value, from: draft?.from ?? value })}
        onBlur={finish}
        onKeyDown={(event) => {
          if (event.key === "Escape") abandoned.current = true;
          if (event.key === "Escape" || (event.key === "Enter" && (!multiline || event.metaKey || event.ctrlKey))) {
            event.preventDefault();
            event.currentTarget.blur();
          }
        }}
      />
      {changedBelow && (
        <span className="changed-below" id={hint} role="status">
          Meanwhile changed to “{value}”
        </span>
      )}
    </span>
  );
}
