// Look at: `createSyncRouter` on the app's own procedure, beside ordinary procedures that write to the same database.
import { initTRPC, TRPCError } from "@trpc/server";
import { and, eq } from "drizzle-orm";
import { createSyncRouter } from "drizzle-sync/server";
import superjson from "superjson";
import { z } from "zod";
import { lists, members } from "@/shared/schema";
import { personOfRequest } from "./auth";
import { db, shutdown } from "./db";

export const createContext = async ({ req }: { req: Request }) => ({ user: await personOfRequest(req) });

const t = initTRPC.context<typeof createContext>().create({ transformer: superjson });

const protectedProcedure = t.procedure.use(({ ctx, next }) => {
  if (!ctx.user) throw new TRPCError({ code: "UNAUTHORIZED" });
  return next({ ctx: { user: ctx.user } });
});

/** What only members of a list may do. */
const memberProcedure = protectedProcedure.input(z.object({ listId: z.uuid() })).use(({ ctx, input, next }) => {
  const list = db
    .select({ ownerId: lists.ownerId })
    .from(lists)
    .innerJoin(members, and(eq(members.listId, lists.id), eq(members.userId, ctx.user.id)))
    .where(eq(lists.id, input.listId))
    .get();
  if (!list) throw new TRPCError({ code: "NOT_FOUND" });
  return next({ ctx: { list } });
});

export const appRouter = t.router({
  // Who belongs to a list decides who may see it, so these writes are the server's. The devices of everybody concerned
  // learn of them at once; the cursor lets the caller's own device wait until it has what was written.
  lists: {
    create: protectedProcedure
      .input(
        z.object({ listId: z.uuid(), title: z.string().trim().min(1).max(80), hue: z.number().int().min(0).max(359) }),
      )
      .mutation(async ({ ctx, input }) => {
        db.transaction((tx) => {
          tx.insert(lists).values({ id: input.listId, title: input.title, hue: input.hue, ownerId: ctx.user.id }).run();
          tx.insert(members).values({ listId: input.listId, userId: ctx.user.id }).run();
        });
        return { cursor: await db.$sync.cursor() };
      }),
    share: memberProcedure.input(z.object({ userId: z.uuid() })).mutation(async ({ input }) => {
      db.insert(members).values(input).onConflictDoNothing().run();
      return { cursor: await db.$sync.cursor() };
    }),
    unshare: memberProcedure.input(z.object({ userId: z.uuid() })).mutation(async ({ ctx, input }) => {
      const allowed =
        input.userId !== ctx.list.ownerId && (ctx.user.id === ctx.list.ownerId || ctx.user.id === input.userId);
      if (!allowed) throw new TRPCError({ code: "FORBIDDEN" });
      db.delete(members)
        .where(and(eq(members.listId, input.listId), eq(members.userId, input.userId)))
        .run();
      return { cursor: await db.$sync.cursor() };
    }),
    remove: memberProcedure.mutation(async ({ ctx, input }) => {
      if (ctx.user.id !== ctx.list.ownerId) throw new TRPCError({ code: "FORBIDDEN" });
      db.delete(lists).where(eq(lists.id, input.listId)).run();
      return { cursor: await db.$sync.cursor() };
    }),
  },

  sync: createSyncRouter({
    db,
    procedure: protectedProcedure,
    subject: ({ ctx }) => ctx.user.id,
    scopes: ({ ctx }) => {
      const own = db
        .select({ id: members.listId })
        .from(members)
        .where(eq(members.userId, ctx.user.id))
        .all()
        .map(({ id }) => `list:${id}` as const);
      return { read: [...own, "everyone"], write: own };
    },
    // A commit to this table changes the answer above: scopes are gained and lost while devices are connected.
    scopesDependOn: [members],
    shutdown,
    // Whoever sends a task or a comment is its author, whatever the device says.
    assign: {
      lists: ({ subject }) => ({ ownerId: subject }),
      todos: ({ subject }) => ({ createdBy: subject }),
      comments: ({ subject }) => ({ authorId: subject }),
    },
  }),
});

export type AppRouter = typeof appRouter;
