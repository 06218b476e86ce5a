/**
 * The server's log, as the server reads it. The statements are the dialect's.
 *
 * @module
 */

export {
  closeTransaction,
  indexTail,
  readChangedKeys,
  readEntries,
  readHead,
  readHorizon,
  readHorizonTime,
  tablesSince,
  vouches,
  readHeadSeq,
  type ChangedKey,
  type EntryRange,
  type LogEntry,
} from "./sqlite/oplog-reader.ts";
export { trimLog, type TrimStep } from "./sqlite/trim-log.ts";
export { lastWriteHlc } from "./sqlite/write-times.ts";
export { isAgeDue, noteLogAge, readHorizonAge, readSeqBefore } from "./sqlite/log-ages.ts";
