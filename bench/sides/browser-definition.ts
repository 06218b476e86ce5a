/** What page and worker of `browser` share. */
import { defineSync } from "drizzle-sync";
import { createTables, todos } from "../data.ts";

export const sync = defineSync({ todos }, { todos: { scope: "everyone" } });

export const migrations = [
  {
    tag: "0000_todos",
    when: 1,
    hash: "todos",
    statements: createTables
      .split(";")
      .map((statement) => statement.trim())
      .filter((statement) => statement !== ""),
  },
];
