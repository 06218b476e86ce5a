/**
 * The device's log, as the client reads it: the offline queue, oldest first. The statements are the dialect's.
 *
 * @module
 */

export {
  closeDeviceTransaction,
  closeStrangers,
  dropTransactions,
  hasUnclosedEntries,
  lastTransaction,
  pendingCount,
  readTransactions,
  type DeviceEntry,
  type DeviceTransaction,
} from "./sqlite/device-log-reader.ts";
