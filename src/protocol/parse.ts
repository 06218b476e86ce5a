/**
 * Messages from outside, to types. Requests are strict: an unknown field is refused, since a server that ignored it
 * would do something else than was asked. Answers are lenient to unknown fields, so that a newer server may say more.
 * Every text, list and number is bounded (`bounds.ts`); what a message costs to check is in proportion to its size.
 *
 * A failed parse throws `INVALID_MESSAGE` and names the place, never the value.
 *
 * @module
 */

import * as z from "zod/mini";
import { bounds } from "./bounds.ts";
import { SyncError } from "./errors.ts";
import type { HandshakeAnswer, HandshakeRequest } from "./handshake.ts";
import { fromJsonValues } from "./json-values.ts";
import type { LiveFrame } from "./live.ts";
import {
  changeGroupsSchema,
  columnsSchema,
  countSchema,
  cursorSchema,
  deviceIdSchema,
  epochSchema,
  hashTextSchema,
  keySchema,
  knownTablesSchema,
  nameSchema,
  outcomeSchema,
  scopesSchema,
  stampSchema,
  tokenSchema,
  txRefSchema,
} from "./message-parts.ts";
import { isShortList, operationFault, transactionFault } from "./parse-operations.ts";
import type { Page, PullAnswer, PullRequest, RoundState } from "./pull.ts";
import type { PushAnswer, PushRequest, PushTransaction } from "./push.ts";

export { parseCursor } from "./ids.ts";

/** A schema of a message: what tRPC's `.input` and `.output` take, and what the parsers below run. */
export type MessageSchema<T> = z.ZodMiniType<T, T>;

const handshakeRequest = z.strictObject({
  deviceId: deviceIdSchema,
  protocol: z.array(countSchema).check(z.minLength(1), z.maxLength(bounds.versions)),
  schema: z.strictObject({ hash: hashTextSchema, tables: knownTablesSchema }),
  time: countSchema,
}) satisfies z.ZodMiniType<HandshakeRequest>;

const roundShape = {
  phase: z.enum(["log0", "snapshot", "log"]),
  scopes: scopesSchema,
  added: scopesSchema,
  held: scopesSchema,
  fresh: z.boolean(),
  s0: countSchema,
  head: cursorSchema,
  next: countSchema,
  table: z.exactOptional(nameSchema),
  after: z.exactOptional(keySchema),
  baseSchema: tokenSchema,
  shared: z.exactOptional(hashTextSchema),
};

const resetReasons = [
  "EPOCH_CHANGED",
  "CURSOR_EXPIRED",
  "CURSOR_UNKNOWN",
  "DECLARATION_CHANGED",
  "CHECKSUM_MISMATCH",
] as const;

const pullRequest = z.strictObject({
  deviceId: deviceIdSchema,
  epoch: z.exactOptional(epochSchema),
  cursor: z.exactOptional(cursorSchema),
  held: z.union([hashTextSchema, scopesSchema]),
  wanted: z.exactOptional(scopesSchema),
  schema: hashTextSchema,
  baseSchema: tokenSchema,
  ackedTx: countSchema,
  limit: z.int().check(z.minimum(1)),
  round: z.exactOptional(z.strictObject(roundShape)),
  check: z.exactOptional(scopesSchema),
  because: z.exactOptional(z.enum(resetReasons)),
  format: z.exactOptional(z.literal("json")),
}) satisfies z.ZodMiniType<PullRequest>;

const pushRequest = z
  .strictObject({
    deviceId: deviceIdSchema,
    epoch: epochSchema,
    cursor: z.exactOptional(cursorSchema),
    previous: z.strictObject({ number: countSchema, stamp: stampSchema }),
    shapes: z
      .array(
        z.strictObject({ table: nameSchema, kind: z.enum(["insert", "update", "delete"]), columns: columnsSchema }),
      )
      .check(z.maxLength(bounds.shapes)),
    txs: z.custom<readonly PushTransaction[]>(isShortList),
    format: z.exactOptional(z.literal("json")),
  })
  .check((context) => {
    const { txs } = context.value;
    const fault = transactionFault(txs) ?? operationFault(context.value);
    if (fault !== undefined)
      context.issues.push({ code: "custom", message: fault.message, path: [...fault.path], input: undefined });
  }) satisfies z.ZodMiniType<PushRequest>;

const handshakeAnswer = z.object({
  epoch: epochSchema,
  protocol: countSchema,
  tables: z.exactOptional(knownTablesSchema),
  outdated: z.exactOptional(knownTablesSchema),
  declaration: tokenSchema,
  limits: z.object({ maxRequestBytes: countSchema, maxPushTransactions: countSchema, maxPageRows: countSchema }),
  time: countSchema,
});

const pageShape = {
  kind: z.literal("page"),
  epoch: epochSchema,
  from: z.exactOptional(cursorSchema),
  to: z.exactOptional(cursorSchema),
  // Stored and sent back unread, so it keeps what a newer server put there.
  round: z.exactOptional(z.looseObject(roundShape)),
  scopes: z.exactOptional(scopesSchema),
  schema: hashTextSchema,
  shared: z.exactOptional(hashTextSchema),
  lastTx: z.exactOptional(txRefSchema),
  ackedTx: z.exactOptional(countSchema),
  outcomes: z.exactOptional(z.array(outcomeSchema).check(z.maxLength(bounds.outcomes))),
  checksums: z.exactOptional(z.record(z.string(), hashTextSchema)),
  remaining: z.exactOptional(countSchema),
};

const pullSignals = [
  z.object({ kind: z.literal("reset"), epoch: epochSchema, reason: z.enum(resetReasons) }),
  z.object({ kind: z.literal("restart"), epoch: epochSchema }),
  z.object({ kind: z.literal("need-held"), epoch: epochSchema }),
  z.object({ kind: z.literal("need-schema"), epoch: epochSchema }),
] as const;
const page = z.object({ ...pageShape, changes: changeGroupsSchema });
const pageEnvelope = z.object(pageShape);

const handled = {
  epoch: epochSchema,
  lastTx: txRefSchema,
  ackedTx: countSchema,
  time: z.exactOptional(countSchema),
};
const pushAnswer = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("ok"), ...handled }),
  z.object({ kind: z.literal("gap"), ...handled }),
  z.object({ kind: z.literal("need"), ...handled, number: countSchema }),
  z.object({ kind: z.literal("forked"), epoch: epochSchema }),
  z.object({ kind: z.literal("reset"), epoch: epochSchema, reason: z.literal("EPOCH_CHANGED") }),
  z.object({ kind: z.literal("need-schema"), epoch: epochSchema }),
]);

const liveSignals = [
  z.object({ kind: z.literal("heartbeat") }),
  z.object({ kind: z.literal("poke") }),
  z.object({ kind: z.literal("end"), reason: z.enum(["pull", "auth", "upgrade", "shutdown"]) }),
] as const;

// A message over JSON says so, and its special values are unwrapped before anything looks at them.
const unwrapRequest = z.transform((message: unknown) => (isJsonMessage(message) ? fromJsonValues(message) : message));

/** Schema of a handshake request. */
// The casts say that what goes in is what comes out; a custom check knows only the latter.
export const handshakeRequestSchema = handshakeRequest as unknown as MessageSchema<HandshakeRequest>;
/** Schema of a pull request; unwraps `format: "json"`. */
export const pullRequestSchema = z.pipe(unwrapRequest, pullRequest) as unknown as MessageSchema<PullRequest>;
/** Schema of a push request; unwraps `format: "json"`. */
export const pushRequestSchema = z.pipe(unwrapRequest, pushRequest) as unknown as MessageSchema<PushRequest>;

const handshakeAnswerSchema = handshakeAnswer satisfies z.ZodMiniType<HandshakeAnswer>;
const pullAnswerSchema = z.discriminatedUnion("kind", [page, ...pullSignals]) satisfies z.ZodMiniType<PullAnswer>;
const pushAnswerSchema = pushAnswer satisfies z.ZodMiniType<PushAnswer>;
const liveFrameSchema = z.discriminatedUnion("kind", [
  page,
  ...pullSignals,
  ...liveSignals,
]) satisfies z.ZodMiniType<LiveFrame>;
const envelopeSchema = z.discriminatedUnion("kind", [pageEnvelope, ...pullSignals, ...liveSignals]);
const roundSchema = z.looseObject(roundShape) satisfies z.ZodMiniType<RoundState>;

/** Parses a handshake request; strict. */
export function parseHandshakeRequest(message: unknown): HandshakeRequest {
  return run(handshakeRequestSchema, "handshake request", message);
}

/** Parses a pull request; strict. Unwraps `format: "json"`. */
export function parsePullRequest(message: unknown): PullRequest {
  return run(pullRequestSchema, "pull request", message);
}

/** Parses a push request; strict, operations against their shapes included. Unwraps `format: "json"`. */
export function parsePushRequest(message: unknown): PushRequest {
  return run(pushRequestSchema, "push request", message);
}

/** Parses the state of a round, as a device stored it; keeps unknown fields, which are the server's own affair. */
export function parseRoundState(message: unknown): RoundState {
  return run(roundSchema, "round state", message);
}

/** Parses a handshake answer; lenient to unknown fields. */
export function parseHandshakeAnswer(message: unknown): HandshakeAnswer {
  return run(handshakeAnswerSchema, "handshake answer", message);
}

/** Parses a pull answer whose groups are plain (JSON transports); lenient to unknown fields. Packed ones: `page-codec.ts`. */
export function parsePullAnswer(message: unknown): PullAnswer {
  return run(pullAnswerSchema, "pull answer", message);
}

/** Parses a push answer; lenient to unknown fields. */
export function parsePushAnswer(message: unknown): PushAnswer {
  return run(pushAnswerSchema, "push answer", message);
}

/** Parses a frame of the live stream whose groups are plain; lenient to unknown fields. */
export function parseLiveFrame(message: unknown): LiveFrame {
  return run(liveFrameSchema, "live frame", message);
}

/** A frame without the changes of its page, which the page codec unpacks and checks by itself. */
export type LiveEnvelope = Omit<Page, "changes"> | Exclude<LiveFrame, Page>;

/** @internal */
export function parseEnvelope(message: unknown): LiveEnvelope {
  return run(envelopeSchema, "answer", message);
}

function run<T>(schema: z.ZodMiniType<T>, what: string, message: unknown): T {
  const result = schema.safeParse(message);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issue === undefined ? "" : issue.path.map(String).join(".").slice(0, bounds.name);
  const reason =
    issue?.code === "custom" && issue.message !== "Invalid input" ? issue.message : (issue?.code ?? "invalid");
  throw new SyncError({
    code: "INVALID_MESSAGE",
    message: `A ${what} is not what the protocol says${path === "" ? "" : `, at \`${path}\``}: ${reason}.`,
    details: { path },
  });
}

function isJsonMessage(message: unknown): boolean {
  return typeof message === "object" && message !== null && "format" in message && message.format === "json";
}
