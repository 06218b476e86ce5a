/**
 * `createSyncRouter`: the sync procedures on the app's own procedure builder, so that its middlewares, context, transformer
 * and error formatter apply. What it returns is put into the app's router as it is: `router({ sync: createSyncRouter(…) })`.
 *
 * The builder is typed by its shape: the type parameters of tRPC's own change between minor versions.
 *
 * @module
 */

import {
  tracked,
  type TRPCMutationProcedure,
  type TRPCQueryProcedure,
  type TRPCSubscriptionProcedure,
} from "@trpc/server";
import type { InferSelectModel, Table } from "drizzle-orm";
import { type SyncDatabase, syncOf } from "../plugin/sync-database.ts";
import type { DatabaseSchema } from "../plugin/with-sync.ts";
import { SyncError } from "../protocol/errors.ts";
import type { HandshakeAnswer, HandshakeRequest, Limits } from "../protocol/handshake.ts";
import { toJsonValues } from "../protocol/json-values.ts";
import type { LiveFrame } from "../protocol/live.ts";
import type { RejectionCode } from "../protocol/outcome.ts";
import { parseHandshakeRequest, parsePullRequest, parsePushRequest } from "../protocol/parse.ts";
import type { PullAnswer, PullRequest } from "../protocol/pull.ts";
import type { PushAnswer, PushRequest } from "../protocol/push.ts";
import { bindAssign } from "./assign.ts";
import type { AuthorizeTransaction } from "./authorize.ts";
import { mapFrames } from "./frame-stream.ts";
import { type LiveInput, parseLiveInput, type ReadLiveInput } from "./live-input.ts";
import type { StreamedFrame } from "./live-stream.ts";
import { readRetention, type RetentionOptions } from "./retention.ts";
import { type GrantedScopes, readRights } from "./scopes.ts";
import { createServices, tableKeys } from "./services.ts";
import { createSyncService, type SyncCaller, type SyncService, type SyncStats } from "./service.ts";
import { toTrpcError } from "./trpc-errors.ts";

type Awaitable<T> = T | Promise<T>;

/** What is needed of a procedure builder of tRPC. */
export interface ProcedureLike {
  // oxlint-disable-next-line typescript/no-explicit-any -- tRPC's own generics; only their shape is asked for.
  input(parser: any): any;
  // oxlint-disable-next-line typescript/no-explicit-any -- as above.
  query(resolver: (options: any) => any): any;
  // oxlint-disable-next-line typescript/no-explicit-any -- as above.
  mutation(resolver: (options: any) => any): any;
  // oxlint-disable-next-line typescript/no-explicit-any -- as above.
  subscription(resolver: (options: any) => any): any;
}

/** The context that a resolver of this builder sees, after its middlewares. */
export type ProcedureContext<TProcedure> = TProcedure extends {
  query(resolver: (options: infer TOptions) => never): unknown;
}
  ? TOptions extends { ctx: infer TContext }
    ? TContext
    : never
  : never;

/** The scopes that a database made by `withSync` can grant; any text where its definition is not known. */
export type DatabaseScope<TDb> = TDb extends { readonly $sync: { readonly "~scope"?: infer TScope } }
  ? Extract<NonNullable<TScope>, string>
  : string;

/** Values that the server gives to rows which a device inserts, by table. */
export type AssignOptions<TSchema, TContext> = {
  readonly [K in keyof TSchema as TSchema[K] extends Table ? K : never]?: TSchema[K] extends Table
    ? (options: {
        readonly ctx: TContext;
        readonly subject: string;
        /** The row as the device wrote it. */
        readonly row: Readonly<Partial<InferSelectModel<TSchema[K]>>>;
      }) => Readonly<Partial<InferSelectModel<TSchema[K]>>>
    : never;
};

/** Options of {@link createSyncRouter}. */
export interface SyncRouterOptions<TProcedure extends ProcedureLike, TDb extends object> {
  /** The database, made by `withSync`; or a function that finds it, for one database per tenant. */
  readonly db: TDb | ((options: { readonly ctx: ProcedureContext<TProcedure> }) => TDb);
  /** The app's own procedure builder, with the middlewares that let a user through. */
  readonly procedure: TProcedure;
  /** Who is syncing. A device belongs to one subject. */
  readonly subject: (options: { readonly ctx: ProcedureContext<TProcedure> }) => string;
  /**
   * What the subject may read and write now. Asked with each request, and by streams again (see `scopesDependOn`).
   *
   * A row may be changed by who may write one of its scopes. A change that moves it must be allowed in each scope that the row
   * enters or leaves, and in one of those that it is in afterwards; a new or deleted row enters or leaves all of its
   * scopes. Judged on what a whole transaction makes of a row.
   */
  readonly scopes: (options: {
    readonly ctx: ProcedureContext<TProcedure>;
    readonly subject: string;
  }) => Awaitable<GrantedScopes<DatabaseScope<TDb>>>;
  /**
   * Tables whose commits change what `scopes` answers. They must be synced; for others, call `db.$sync.scopesChanged`.
   * @default none: streams ask once a minute
   */
  readonly scopesDependOn?: readonly Table[];
  /** Values that the server gives to rows which a device inserts, whatever the device wrote there. Pure and synchronous. */
  readonly assign?: AssignOptions<DatabaseSchema<TDb>, ProcedureContext<TProcedure>>;
  /** Asked about each transaction before it is applied. An answer refuses it for good; a throw is transient. */
  readonly authorize?: (options: {
    readonly ctx: ProcedureContext<TProcedure>;
    readonly subject: string;
    readonly transaction: AuthorizeTransaction;
  }) => Awaitable<void | undefined | { readonly reject: RejectionCode; readonly message?: string }>;
  /** @default {@link defaultLimits} */
  readonly limits?: Partial<Limits>;
  /** How far back the log reaches, by age and by count. @default {@link defaultRetention}: 30 days, 10 million entries */
  readonly retention?: RetentionOptions;
  /** How long a live stream is silent, and how old its rights may be. @default one minute */
  readonly heartbeatMs?: number;
  /** Ends open streams when the server goes down, so that they do not keep it waiting. */
  readonly shutdown?: AbortSignal;
  /** Told of what a resolver or `check` threw, and of failed upkeep. @default console.error */
  readonly onError?: (error: unknown) => void;
}

/** The procedures, as the app's router takes them: a type, since tRPC wants an index signature, which interfaces lack. */
export type SyncProcedures = {
  readonly handshake: TRPCMutationProcedure<{ input: HandshakeRequest; output: HandshakeAnswer; meta: unknown }>;
  readonly pull: TRPCMutationProcedure<{ input: PullRequest; output: PullAnswer; meta: unknown }>;
  readonly push: TRPCMutationProcedure<{ input: PushRequest; output: PushAnswer; meta: unknown }>;
  readonly live: TRPCSubscriptionProcedure<{
    input: LiveInput;
    output: AsyncIterable<{ id: string; data: LiveFrame }, void, unknown>;
    meta: unknown;
  }>;
  readonly stats: TRPCQueryProcedure<{ input: void; output: SyncStats; meta: unknown }>;
};

/**
 * Builds the sync procedures.
 *
 * @example
 * ```ts
 * sync: createSyncRouter({
 *   db,
 *   procedure: protectedProcedure,
 *   subject: ({ ctx }) => ctx.user.id,
 *   scopes: async ({ ctx }) => ({ read: await listsOf(ctx.user.id), write: await listsOf(ctx.user.id) }),
 * })
 * ```
 */
export function createSyncRouter<TProcedure extends ProcedureLike, TDb extends object>(
  options: SyncRouterOptions<TProcedure, TDb>,
): SyncProcedures {
  type Context = ProcedureContext<TProcedure>;
  type Call<TInput> = { readonly ctx: Context; readonly input: TInput; readonly signal: AbortSignal | undefined };
  const { procedure, db } = options;
  // Said at once, also where the database comes with the first request.
  const retention = readRetention(options.retention);
  const services = createServices({
    shutdown: options.shutdown,
    make: (database) =>
      createSyncService({
        database,
        scopesDependOn: tableKeys(database, options.scopesDependOn ?? []),
        onError: options.onError ?? reportToConsole,
        retention,
        ...(options.limits === undefined ? {} : { limits: options.limits }),
        ...(options.heartbeatMs === undefined ? {} : { heartbeatMs: options.heartbeatMs }),
      }),
  });
  // What is wrong with the options is said at once, where the database is there already.
  if (typeof db !== "function") services.of(syncOf(db));

  const callerOf = (database: SyncDatabase, ctx: Context): SyncCaller => {
    const subject = options.subject({ ctx });
    if (typeof subject !== "string" || subject === "") {
      throw new SyncError({
        code: "INVALID_CONFIG",
        message: "`subject` of `createSyncRouter` must answer a text that is not empty.",
      });
    }
    const { authorize } = options;
    const assign = bindAssign(database, options.assign as Parameters<typeof bindAssign>[1], { ctx, subject });
    return {
      subject,
      scopes: async () => readRights(await options.scopes({ ctx, subject })),
      ...(assign === undefined ? {} : { assign }),
      ...(authorize === undefined
        ? {}
        : {
            authorize: async (transaction) => {
              const answer = await authorize({ ctx, subject, transaction });
              if (answer === undefined || answer === null) return undefined;
              return { code: answer.reject, message: answer.message ?? "The transaction is not allowed." };
            },
          }),
    };
  };
  const open = (ctx: Context): { readonly service: SyncService; readonly caller: SyncCaller } => {
    const database = syncOf(typeof db === "function" ? db({ ctx }) : db);
    return { service: services.of(database), caller: callerOf(database, ctx) };
  };
  const answer = <T>(request: { readonly format?: "json" }, value: T): T =>
    // Wrapped values have no type of their own.
    request.format === "json" ? (toJsonValues(value) as T) : value;
  const guarded =
    <TInput, T>(run: (call: Call<TInput>, opened: ReturnType<typeof open>) => Promise<T>) =>
    async (call: Call<TInput>): Promise<T> => {
      try {
        return await run(call, open(call.ctx));
      } catch (error) {
        throw toTrpcError(error);
      }
    };

  return {
    handshake: procedure
      .input(parseHandshakeRequest)
      .mutation(
        guarded<HandshakeRequest, HandshakeAnswer>(({ input }, { service, caller }) =>
          service.handshake(caller, input),
        ),
      ),
    pull: procedure
      .input(parsePullRequest)
      .mutation(
        guarded<PullRequest, PullAnswer>(async ({ input }, { service, caller }) =>
          answer(input, await service.pull(caller, input)),
        ),
      ),
    push: procedure
      .input(parsePushRequest)
      .mutation(
        guarded<PushRequest, PushAnswer>(async ({ input }, { service, caller }) =>
          answer(input, await service.push(caller, input)),
        ),
      ),
    live: procedure.input(parseLiveInput).subscription(
      guarded<ReadLiveInput, AsyncIterable<unknown>>(async ({ input, signal }, { service, caller }) => {
        const how = {
          carries: input.frames ? ("pages" as const) : ("pokes" as const),
          signal: signal ?? new AbortController().signal,
        };
        const frames = services.whileStreaming(service, service.stream(caller, input.request, how));
        return mapFrames<StreamedFrame, unknown>(frames, input.frames ? plain : poke, toTrpcError);
      }),
    ),
    stats: procedure.query(guarded<void, SyncStats>((_call, { service }) => service.stats())),
  };
}

/** Our HTTP handler has bytes to put it in. */
function plain({ frame }: StreamedFrame): LiveFrame {
  return frame;
}

/** Over tRPC, with the id to resume at. */
function poke({ frame, cursor }: StreamedFrame): unknown {
  // A plain end would be the end for good: tRPC's client comes again only after an error.
  if (frame.kind === "end") throw new SyncError({ code: "UNAVAILABLE", message: "The server is shutting down." });
  return cursor === undefined ? frame : tracked(cursor, frame);
}

function reportToConsole(error: unknown): void {
  // oxlint-disable-next-line no-console -- The app gave no `onError`, and a failure that nobody hears of helps nobody.
  console.error("drizzle-sync: a function of the app, or upkeep, failed inside the server:", error);
}
