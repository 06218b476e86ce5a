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
  hasUnclosedEntries,
  lastTransaction,
  pendingCount,
  readDropped,
  readTransactions,
  type DeviceEntry,
  type DeviceTransaction,
} from "./sqlite/device-log-reader.ts";
export {
  clearTransactions,
  findTransaction,
  keepTransactions,
  noteKeptStatus,
  pruneKept,
  takeBackTransactions,
  voidTransactions,
} from "./sqlite/kept-transactions.ts";
