// Look at: the whole declaration of what is synced, for whom, and how conflicts end.
import { defineSync, lastWriteWins, mergeFields } from "drizzle-sync";
import * as schema from "./schema";

export const sync = defineSync(schema, {
  // Everybody may know everybody, but an email address never leaves the server.
  users: { scope: "everyone", exclude: ["email"], write: "server" },
  // A row is in the scope `list:<id>`; the server grants that scope to the members of the list.
  lists: { scope: { list: "id" }, readonly: ["ownerId"] },
  members: { scope: { list: "listId" }, write: "server" },
  todos: {
    scope: { list: "listId" },
    readonly: ["createdBy"],
    // Changes of different columns merge by themselves. The same column: notes take the last write; of anything else the
    // server's value stays, and the other one is set aside for its author.
    conflict: mergeFields({ notes: lastWriteWins() }),
  },
  // A comment is where its task is, and moves with it.
  comments: { scopeFrom: "todoId", readonly: ["authorId"] },
});
