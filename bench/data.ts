/**
 * The rows of every benchmark: tasks of a size and shape that apps have, from a seed. Titles and notes are words of a
 * vocabulary of 2,000, so that compression finds what it finds in real text; ids are UUIDs of version 7, which rise.
 */
import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

export const todos = sqliteTable(
  "todos",
  {
    id: text().primaryKey(),
    listId: text("list_id").notNull(),
    title: text().notNull(),
    done: integer({ mode: "boolean" }).notNull(),
    priority: integer().notNull(),
    notes: text().notNull(),
    createdAt: integer("created_at", { mode: "timestamp_ms" }).notNull(),
    updatedAt: integer("updated_at", { mode: "timestamp_ms" }).notNull(),
  },
  (table) => [index("todos_list").on(table.listId)],
);

export const createTables = `
  CREATE TABLE todos (id TEXT PRIMARY KEY NOT NULL, list_id TEXT NOT NULL, title TEXT NOT NULL, done INTEGER NOT NULL,
    priority INTEGER NOT NULL, notes TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL);
  CREATE INDEX todos_list ON todos (list_id);
`;

export type Todo = typeof todos.$inferInsert;

/** A row as SQLite stores it, in the order of the columns. */
export type StoredTodo = readonly [string, string, string, number, number, string, number, number];

export const insertSql = "INSERT INTO todos VALUES (?, ?, ?, ?, ?, ?, ?, ?)";

function createRandom(seed: number): () => number {
  let state = Math.imul(seed + 1, 2654435761) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function vocabulary(random: () => number): string[] {
  const syllables = [
    "ba",
    "con",
    "der",
    "el",
    "fi",
    "gra",
    "ho",
    "in",
    "ka",
    "lo",
    "men",
    "no",
    "or",
    "pe",
    "ra",
    "sti",
    "tu",
    "ver",
  ];
  const words = new Set<string>();
  while (words.size < 2000) {
    const length = 1 + Math.floor(random() * 3);
    words.add(Array.from({ length }, () => syllables[Math.floor(random() * syllables.length)]).join(""));
  }
  return [...words];
}

const hex = (value: number, digits: number): string => Math.floor(value).toString(16).padStart(digits, "0");

function uuid(time: number, random: () => number): string {
  const millis = hex(time, 12);
  const tail = () => hex(random() * 2 ** 32, 8);
  const rest = tail() + tail() + tail();
  return `${millis.slice(0, 8)}-${millis.slice(8)}-7${rest.slice(0, 3)}-a${rest.slice(3, 6)}-${rest.slice(6, 18)}`;
}

/** Rows in fifty lists, by key. */
export function* generateTodos(count: number, seed: number): Generator<StoredTodo> {
  const random = createRandom(seed);
  const words = vocabulary(random);
  const phrase = (characters: number): string => {
    let phrase = "";
    while (phrase.length < characters)
      phrase += `${phrase === "" ? "" : " "}${words[Math.floor(random() ** 2 * 2000)]}`;
    return phrase.slice(0, characters);
  };
  const start = Date.UTC(2025, 0, 1);
  const lists = Array.from({ length: 50 }, (_, i) => uuid(start - 1000 + i, random));
  for (let i = 0; i < count; i++) {
    const created = start + i * 731;
    yield [
      uuid(created, random),
      lists[Math.floor(random() * lists.length)] as string,
      phrase(25 + Math.floor(random() * 30)),
      random() < 0.3 ? 1 : 0,
      Math.floor(random() * 4),
      phrase(70 + Math.floor(random() * 60)),
      created,
      created + Math.floor(random() * 1e9),
    ];
  }
}

/** A stored row as Drizzle takes it. */
export function toTodo([id, listId, title, done, priority, notes, createdAt, updatedAt]: StoredTodo): Todo {
  return {
    id,
    listId,
    title,
    done: done === 1,
    priority,
    notes,
    createdAt: new Date(createdAt),
    updatedAt: new Date(updatedAt),
  };
}

/** Changes three columns of a row. */
export const changeSql = "UPDATE todos SET title = ?, done = ?, updated_at = ? WHERE id = ?";
