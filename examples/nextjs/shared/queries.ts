// Look at: queries written once. The server renders the first page with them, the browser keeps them live.
import { asc, count, eq, sql } from "drizzle-orm";
import type { BaseSQLiteDatabase } from "drizzle-orm/sqlite-core";
import type * as schema from "./schema";
import { comments, lists, members, todos, users } from "./schema";

// oxlint-disable-next-line typescript/no-explicit-any -- what a driver answers is all in which the two databases differ.
type Database = BaseSQLiteDatabase<any, any, typeof schema>;

export const allPeople = (db: Database) =>
  db.select({ id: users.id, name: users.name, hue: users.hue }).from(users).orderBy(asc(users.name));

/** The lists of one person, with how much is left to do. */
export const listsOf = (db: Database, userId: string) =>
  db
    .select({
      id: lists.id,
      title: lists.title,
      hue: lists.hue,
      ownerId: lists.ownerId,
      open: sql<number>`count(case when ${todos.done} = 0 then 1 end)`.mapWith(Number),
    })
    .from(lists)
    .innerJoin(members, eq(members.listId, lists.id))
    .leftJoin(todos, eq(todos.listId, lists.id))
    .where(eq(members.userId, userId))
    .groupBy(lists.id)
    .orderBy(asc(lists.createdAt), asc(lists.id));

export const membersOf = (db: Database, listId: string) =>
  db.select({ userId: members.userId }).from(members).where(eq(members.listId, listId));

/** The tasks of a list, each with the number of its comments. */
export const todosOf = (db: Database, listId: string) =>
  db
    .select({
      id: todos.id,
      listId: todos.listId,
      title: todos.title,
      notes: todos.notes,
      done: todos.done,
      priority: todos.priority,
      assigneeId: todos.assigneeId,
      createdBy: todos.createdBy,
      createdAt: todos.createdAt,
      comments: count(comments.id),
    })
    .from(todos)
    .leftJoin(comments, eq(comments.todoId, todos.id))
    .where(eq(todos.listId, listId))
    .groupBy(todos.id)
    .orderBy(asc(todos.createdAt), asc(todos.id));

export const commentsOf = (db: Database, todoId: string) =>
  db.select().from(comments).where(eq(comments.todoId, todoId)).orderBy(asc(comments.createdAt), asc(comments.id));

export type Person = Awaited<ReturnType<typeof allPeople>>[number];
export type List = Awaited<ReturnType<typeof listsOf>>[number];
export type Task = Awaited<ReturnType<typeof todosOf>>[number];

/** What the server renders the first page with. */
export interface Initial {
  readonly people: Person[];
  readonly lists: List[];
  readonly listId: string | undefined;
  readonly members: { userId: string }[];
  readonly todos: Task[];
}
