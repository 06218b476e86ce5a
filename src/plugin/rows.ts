/**
 * Live rows with their scopes, by key and by scope. The statements are the dialect's.
 *
 * @module
 */

export {
  readRows,
  readScopedRows,
  readSnapshot,
  readSnapshotRows,
  scopesOfRow,
  type LiveRow,
  type SnapshotRange,
} from "./sqlite/row-reader.ts";
