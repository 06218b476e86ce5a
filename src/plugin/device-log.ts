/**
 * The device's log, as the client reads it: the offline queue, oldest first, and what left it lately. The statements are
 * the dialect's.
 *
 * @module
 */

export { correctClock, readClockOffset } from "./sqlite/device-clock.ts";
export {
  closeDeviceTransaction,
  closeStrangers,
  lastIfClosed,
  lastTransaction,
  pendingCount,
  readDropped,
} from "./sqlite/device-log-reader.ts";
export {
  outlineTransactions,
  readTransactions,
  type DeviceEntry,
  type DeviceTransaction,
  type QueueOutline,
} from "./sqlite/read-transactions.ts";
export {
  clearTransactions,
  findTransaction,
  keepTransactions,
  noteKeptStatus,
  pruneKept,
  takeBackTransactions,
  voidTransactions,
} from "./sqlite/kept-transactions.ts";
