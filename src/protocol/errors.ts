/**
 * What goes wrong at run time: one class, one closed table of codes. Each row says when a code occurs, under which code
 * it crosses tRPC, and its policy: what the engine does about it. The engine reads the policy and nothing else, so
 * "what happens on X" has one answer.
 *
 * What the protocol foresees is data and never thrown: outcomes, `reset` with a reason, `gap`, `need`. The reset reasons
 * stand in the table for their policy alone. Why a transaction was refused is a rejection code (`outcome.ts`), a result.
 *
 * Messages name tables and columns, never row values.
 *
 * @module
 */

/** What the engine does about an error. */
export type SyncErrorPolicy = "retry" | "reset" | "wait-for-auth" | "wait-for-upgrade" | "stop";

/** The tRPC codes in use; a subset of `TRPC_ERROR_CODE_KEY`. */
export type TrpcCode =
  | "BAD_REQUEST"
  | "CLIENT_CLOSED_REQUEST"
  | "CONFLICT"
  | "FORBIDDEN"
  | "INTERNAL_SERVER_ERROR"
  | "PAYLOAD_TOO_LARGE"
  | "PRECONDITION_FAILED"
  | "SERVICE_UNAVAILABLE"
  | "TIMEOUT"
  | "TOO_MANY_REQUESTS"
  | "UNAUTHORIZED";

/** One row of {@link syncErrorCodes}. */
export interface SyncErrorRow {
  /** When it occurs. */
  readonly when: string;
  /** How it crosses tRPC; null for what never leaves the side on which it occurs. */
  readonly trpc: TrpcCode | null;
  readonly policy: SyncErrorPolicy;
}

/** Every code there is. Adding one is a minor change, changing a policy too; renaming or removing one is major. */
export const syncErrorCodes = {
  INVALID_CONFIG: {
    when: "The definition or an option cannot be used.",
    trpc: "INTERNAL_SERVER_ERROR",
    policy: "stop",
  },
  UNSUPPORTED_DATABASE: {
    when: "The database or its driver is not supported.",
    trpc: "INTERNAL_SERVER_ERROR",
    policy: "stop",
  },
  MISSING_PRIMARY_KEY: {
    when: "A synced table has no usable primary key.",
    trpc: "INTERNAL_SERVER_ERROR",
    policy: "stop",
  },
  NOT_INSTALLED: {
    when: "The tables or triggers of the log are missing.",
    trpc: "INTERNAL_SERVER_ERROR",
    policy: "stop",
  },

  PROTOCOL_UNSUPPORTED: {
    when: "No protocol version is spoken by both sides.",
    trpc: "PRECONDITION_FAILED",
    policy: "wait-for-upgrade",
  },
  SCHEMA_MISMATCH: {
    when: "One side's tables or columns are too old for the other.",
    trpc: "PRECONDITION_FAILED",
    policy: "wait-for-upgrade",
  },

  UNAUTHORIZED: {
    when: "Nobody is signed in, or the token is not valid any more.",
    trpc: "UNAUTHORIZED",
    policy: "wait-for-auth",
  },
  FORBIDDEN: { when: "The subject may not do this.", trpc: "FORBIDDEN", policy: "stop" },
  DEVICE_TAKEN: { when: "The device id belongs to another subject.", trpc: "CONFLICT", policy: "stop" },

  EPOCH_CHANGED: { when: "The device's base comes from another database.", trpc: null, policy: "reset" },
  CURSOR_EXPIRED: { when: "The cursor is below the log's horizon.", trpc: null, policy: "reset" },
  CURSOR_UNKNOWN: { when: "The log does not vouch for the cursor.", trpc: null, policy: "reset" },
  DECLARATION_CHANGED: { when: "The scope declaration changed.", trpc: null, policy: "reset" },
  CHECKSUM_MISMATCH: { when: "The device's base differs from the server's rows.", trpc: null, policy: "reset" },

  OFFLINE: { when: "The server cannot be reached.", trpc: null, policy: "retry" },
  TIMEOUT: { when: "An answer did not come in time.", trpc: "TIMEOUT", policy: "retry" },
  UNAVAILABLE: { when: "The server cannot answer now.", trpc: "SERVICE_UNAVAILABLE", policy: "retry" },
  RATE_LIMITED: { when: "Too many requests.", trpc: "TOO_MANY_REQUESTS", policy: "retry" },
  TOO_LARGE: {
    when: "A message is larger than the other side accepts; retried with a smaller one.",
    trpc: "PAYLOAD_TOO_LARGE",
    policy: "retry",
  },

  NOT_PENDING: {
    when: "The transaction is not in the queue any more, or the server has it.",
    trpc: null,
    policy: "stop",
  },
  OUTCOME_GONE: { when: "The outcome was dealt with already.", trpc: null, policy: "stop" },
  ROW_GONE: { when: "A retried update names a row that is gone and is not known whole.", trpc: null, policy: "stop" },

  INVALID_MESSAGE: { when: "A message is not what the protocol says.", trpc: "BAD_REQUEST", policy: "stop" },

  STORAGE_FULL: { when: "The device has no room left.", trpc: null, policy: "stop" },
  STORAGE_FAILED: {
    when: "The local database cannot be read or written.",
    trpc: "INTERNAL_SERVER_ERROR",
    policy: "stop",
  },

  CLOSED: { when: "The client or database was closed.", trpc: null, policy: "stop" },
  ABORTED: { when: "The caller aborted.", trpc: "CLIENT_CLOSED_REQUEST", policy: "stop" },
} as const satisfies Record<string, SyncErrorRow>;

export type SyncErrorCode = keyof typeof syncErrorCodes;

/** Details by code; codes that are not named here carry plain facts. */
export interface SyncErrorDetailsByCode {
  readonly INVALID_CONFIG: { readonly table?: string; readonly column?: string };
  readonly MISSING_PRIMARY_KEY: { readonly table: string };
  readonly PROTOCOL_UNSUPPORTED: { readonly offered: readonly number[]; readonly supported: readonly number[] };
  /** Only a device that is too old waits for an update; a server that is too old merely holds pushes back (rule V3). */
  readonly SCHEMA_MISMATCH: { readonly tooOld: "device" | "server"; readonly table?: string; readonly column?: string };
  /** `transaction`: the number of the one that the server could not judge; those before it are handled. */
  readonly UNAVAILABLE: { readonly retryAfterMs?: number; readonly status?: number; readonly transaction?: number };
  readonly RATE_LIMITED: { readonly retryAfterMs?: number };
  readonly TOO_LARGE: { readonly limit?: number };
  readonly ROW_GONE: { readonly table: string };
  /** The scopes whose rows differed; an empty text for rows that were in none. */
  readonly CHECKSUM_MISMATCH: { readonly scopes?: readonly string[] };
  /** `path`: where in the message, without values. `offset`: byte of the body. */
  readonly INVALID_MESSAGE: { readonly path?: string; readonly offset?: number };
}

/** The details of a code. */
export type SyncErrorDetails<TCode extends SyncErrorCode> = TCode extends keyof SyncErrorDetailsByCode
  ? SyncErrorDetailsByCode[TCode]
  : Readonly<Record<string, unknown>>;

/** What a {@link SyncError} is made of. */
export interface SyncErrorOptions<TCode extends SyncErrorCode> {
  readonly code: TCode;
  /** One or two sentences: what happened, where, what to do. No row values. */
  readonly message: string;
  readonly cause?: unknown;
  readonly details?: SyncErrorDetails<TCode>;
}

const brand = Symbol.for("drizzle-sync.error");

/** The one error this package throws. Recognize it with {@link isSyncError}, never with `instanceof`. */
export class SyncError<TCode extends SyncErrorCode = SyncErrorCode> extends Error {
  readonly code: TCode;
  declare readonly details?: SyncErrorDetails<TCode>;

  constructor(options: SyncErrorOptions<TCode>) {
    super(options.message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "SyncError";
    this.code = options.code;
    if (options.details !== undefined) this.details = options.details;
    Object.defineProperty(this, brand, { value: true });
  }
}

/** Whether a value is a {@link SyncError}, of the given code if one is given; also one of another copy of this package. */
export function isSyncError<TCode extends SyncErrorCode = SyncErrorCode>(
  value: unknown,
  code?: TCode,
): value is SyncError<TCode> {
  if (typeof value !== "object" || value === null || !(brand in value) || !("code" in value)) return false;
  return code === undefined || value.code === code;
}

/** What the engine does about a code. */
export function policyOf(code: SyncErrorCode): SyncErrorPolicy {
  return syncErrorCodes[code].policy;
}

/** A {@link SyncError} as plain data, for a port, an HTTP body or tRPC. The cause stays behind. */
export interface WireError {
  readonly code: SyncErrorCode;
  readonly message: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** Takes an error apart for the wire. */
export function toWire(error: SyncError): WireError {
  const plain = { code: error.code, message: error.message };
  return error.details === undefined ? plain : { ...plain, details: { ...error.details } };
}

/** Rebuilds an error from the wire; undefined when the value is none, or has a code that this version does not know. */
export function fromWire(value: unknown, cause?: unknown): SyncError | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { code, message, details } = value as { code?: unknown; message?: unknown; details?: unknown };
  if (typeof code !== "string" || !Object.hasOwn(syncErrorCodes, code) || typeof message !== "string") return undefined;
  return new SyncError({
    code: code as SyncErrorCode,
    message: message.slice(0, maxMessageLength),
    ...(cause === undefined ? {} : { cause }),
    ...(typeof details === "object" && details !== null ? { details } : {}),
  });
}

const maxMessageLength = 2000;

/** An invariant of the protocol page does not hold: a bug in this package. */
export function unreachable(invariant: string): never {
  throw new Error(`Impossible state (${invariant}). This is a bug in drizzle-sync.`);
}
