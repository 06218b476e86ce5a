/**
 * The protocol, for those who write another client, another server, or a tool: message types, codecs, parsers, errors.
 *
 * @module
 */

export {
  MINIMUM_PROTOCOL_VERSION,
  negotiateProtocol,
  PROTOCOL_VERSION,
  protocolVersions,
  type ProtocolVersion,
} from "./version.ts";

export { compareCursors, formatCursor, makeDeviceId, parseCursor, parseDeviceId, parseEpoch } from "./ids.ts";
export type { Cursor, DeviceId, Epoch, Key, Position, RandomBytes, TxRef, Value } from "./ids.ts";

export type { HandshakeAnswer, HandshakeRequest, KnownTables, Limits } from "./handshake.ts";
export type { Page, PullAnswer, PullRequest, ResetReason, RoundState } from "./pull.ts";
export type { ChangeGroup, ChangeKind } from "./change.ts";
export type {
  Operation,
  OperationKind,
  OperationShape,
  PushAnswer,
  PushRequest,
  PushTransaction,
  SeenValue,
} from "./push.ts";
export { rejectionCodes } from "./outcome.ts";
export type { ConflictKind, ConflictReport, Outcome, RejectionCode } from "./outcome.ts";
export type { LiveEnd, LiveFrame } from "./live.ts";

export {
  handshakeRequestSchema,
  parseHandshakeAnswer,
  parseHandshakeRequest,
  parseLiveFrame,
  parsePullAnswer,
  parsePullRequest,
  parsePushAnswer,
  parsePushRequest,
  pullRequestSchema,
  pushRequestSchema,
  type MessageSchema,
} from "./parse.ts";

export { decodeCbor, defaultCborLimits, encodeCbor, type CborLimits } from "./cbor.ts";
export { decodeLiveFrame, decodePullAnswer, encodeLiveFrame, encodePullAnswer } from "./page-codec.ts";
export { decodePushRequest, encodePushRequest } from "./push-codec.ts";
export { fromJsonValues, toJsonValues } from "./json-values.ts";

export { canonicalize, equalValues, type CanonicalForm } from "./value.ts";
export { hashSchema, hashScopes, hashValues, matchesSeen, rowHash, seenValue, sumHashes } from "./hash.ts";
export { hlcMillis, hlcNow, hlcReceive } from "./hlc.ts";

export { isSyncError, policyOf, SyncError, syncErrorCodes } from "./errors.ts";
export type {
  SyncErrorCode,
  SyncErrorDetails,
  SyncErrorOptions,
  SyncErrorPolicy,
  SyncErrorRow,
  TrpcCode,
} from "./errors.ts";
