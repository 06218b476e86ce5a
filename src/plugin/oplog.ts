/**
 * The server's log, as the server reads it. The statements are the dialect's.
 *
 * @module
 */

export {
  closeTransaction,
  isUnstampedHead,
  readChangedKeys,
  readEntries,
  readEntriesAfter,
  readHead,
  readHorizon,
  readHorizonTime,
  stampHead,
  tablesSince,
  vouches,
  readHeadSeq,
  type ChangedKey,
  type EntryRange,
  type LogEntry,
} from "./sqlite/oplog-reader.ts";
export { indexTail } from "./sqlite/scope-index.ts";
export { trimLog, type TrimStep } from "./sqlite/trim-log.ts";
export { lastWriteHlc } from "./sqlite/write-times.ts";
export { isAgeDue, noteLogAge, readHorizonAge, readSeqBefore } from "./sqlite/log-ages.ts";
