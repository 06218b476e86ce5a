import { expect, test } from "vitest";
import { isSyncError } from "./errors.ts";
import { MINIMUM_PROTOCOL_VERSION, negotiateProtocol, PROTOCOL_VERSION, protocolVersions } from "./version.ts";

test("V1: the newest version that both sides speak is chosen", () => {
  expect(negotiateProtocol([MINIMUM_PROTOCOL_VERSION])).toBe(MINIMUM_PROTOCOL_VERSION);
  expect(negotiateProtocol([PROTOCOL_VERSION + 7, PROTOCOL_VERSION, 0])).toBe(PROTOCOL_VERSION);
  expect(protocolVersions[0]).toBe(PROTOCOL_VERSION);
});

test("V1: without a common version the answer is PROTOCOL_UNSUPPORTED, with both lists", () => {
  let thrown: unknown;
  try {
    negotiateProtocol([PROTOCOL_VERSION + 1]);
  } catch (error) {
    thrown = error;
  }
  expect(isSyncError(thrown, "PROTOCOL_UNSUPPORTED")).toBe(true);
  expect(thrown).toMatchObject({ details: { offered: [PROTOCOL_VERSION + 1], supported: protocolVersions } });
});
