/**
 * The version of the protocol, and how two sides agree on one (rule V1). It is raised when a message changes in a way
 * that the other side cannot ignore; adding an optional field to an answer does not raise it.
 *
 * History
 * - 1: the first.
 *
 * @module
 */

import { SyncError } from "./errors.ts";

/** The newest version this package speaks. */
export const PROTOCOL_VERSION = 1;

/** The oldest version this package still speaks. */
export const MINIMUM_PROTOCOL_VERSION = 1;

/** A version of the protocol. */
export type ProtocolVersion = number;

/** Every version this package speaks, newest first; what a device offers. */
export const protocolVersions: readonly ProtocolVersion[] = Array.from(
  { length: PROTOCOL_VERSION - MINIMUM_PROTOCOL_VERSION + 1 },
  (_, index) => PROTOCOL_VERSION - index,
);

/** Chooses the newest version that both sides speak; throws `PROTOCOL_UNSUPPORTED` when there is none. */
export function negotiateProtocol(offered: readonly number[]): ProtocolVersion {
  const version = protocolVersions.find((candidate) => offered.includes(candidate));
  if (version !== undefined) return version;
  throw new SyncError({
    code: "PROTOCOL_UNSUPPORTED",
    message: `No common protocol version: ${offered.join(", ")} offered, ${protocolVersions.join(", ")} supported. Update the older side.`,
    details: { offered, supported: protocolVersions },
  });
}
