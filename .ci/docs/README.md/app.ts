/** The rest of the app behind the README's examples. */
import { initTRPC } from "@trpc/server";
import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { withSync } from "drizzle-sync";
import * as schema from "./schema";

const t = initTRPC.context<{ user: { id: string } }>().create();
export const { router } = t;
export const signedIn = t.procedure;
export const createContext = () => ({ user: { id: "ann" } });
export const listsOf = async (user: string): Promise<string[]> => [user];
export const db = withSync(drizzle(new Database("app.db"), { schema }));
