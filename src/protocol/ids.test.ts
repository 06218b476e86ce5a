import fc from "fast-check";
import { expect, test } from "vitest";
import { checkProperty } from "../testing/check-property.ts";
import { maxStamp } from "./bounds.ts";
import {
  compareCursors,
  formatCursor,
  isCursor,
  isDeviceId,
  isEpoch,
  makeDeviceId,
  makeEpoch,
  makeStamp,
  parseCursor,
  parseDeviceId,
  parseEpoch,
} from "./ids.ts";

test("I1: a device id is 128 random bits as hexadecimal digits", () => {
  expect(makeDeviceId((length) => Uint8Array.from({ length }, (_, i) => i))).toBe("000102030405060708090a0b0c0d0e0f");
  expect(isDeviceId(makeDeviceId())).toBe(true);
  expect(makeDeviceId()).not.toBe(makeDeviceId());
  expect(isEpoch(makeEpoch())).toBe(true);
});

test("a stamp has 48 bits", () => {
  expect(makeStamp((length) => new Uint8Array(length).fill(255))).toBe(maxStamp);
  expect(makeStamp((length) => new Uint8Array(length))).toBe(0);
});

test("I2: a cursor is its seq and stamp, and comes back", () => {
  checkProperty(
    fc.property(fc.maxSafeNat(), fc.integer({ min: 0, max: maxStamp }), (seq, stamp) => {
      expect(parseCursor(formatCursor({ seq, stamp }))).toEqual({ seq, stamp });
    }),
  );
  expect(compareCursors(formatCursor({ seq: 9, stamp: 1 }), formatCursor({ seq: 10, stamp: 0 }))).toBeLessThan(0);
});

test.each([
  "",
  "1",
  "1.",
  ".1",
  "01.1",
  "1.01",
  "-1.1",
  "1.1.1",
  "1e3.1",
  " 1.1",
  "9007199254740992.1",
  "1.281474976710656",
  "١.١",
])("INVALID_MESSAGE: %j is no cursor", (text) => {
  expect(isCursor(text)).toBe(false);
  expect(() => parseCursor(text)).toThrow(expect.objectContaining({ code: "INVALID_MESSAGE" }));
});

test("INVALID_MESSAGE: what is no id is refused", () => {
  for (const value of ["", "0".repeat(31), "0".repeat(33), "A".repeat(32), `${"0".repeat(32)}\n`, 5, null]) {
    expect(() => parseDeviceId(value)).toThrow(expect.objectContaining({ code: "INVALID_MESSAGE" }));
    expect(() => parseEpoch(value)).toThrow(expect.objectContaining({ code: "INVALID_MESSAGE" }));
  }
});
