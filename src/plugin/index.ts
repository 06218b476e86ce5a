/**
 * `drizzle-sync`: declare what is synced, and make a Drizzle database a synced one.
 *
 * @module
 */

export { defineSync, type Scope, type ScopeDeclaration, type SyncDefinition, type TableSync } from "./define-sync.ts";
export type { ChangeInfo } from "./on-change.ts";
export { withSync, type ChangeOf, type SyncHandle, type Synced } from "./with-sync.ts";
export {
  clientWins,
  composite,
  custom,
  lastWriteWins,
  mergeFields,
  serverWins,
  type Conflict,
  type ConflictContext,
  type Resolver,
} from "../protocol/conflict.ts";
export { isSyncError, SyncError, type SyncErrorCode } from "../protocol/errors.ts";
