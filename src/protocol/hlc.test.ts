import fc from "fast-check";
import { expect, test } from "vitest";
import { checkProperty } from "../testing/check-property.ts";
import { clockOffset, hlcBounded, hlcMillis, hlcNow, hlcReceive } from "./hlc.ts";

const now = 1_700_000_000_000;

test("P11: a clock that moves on gives its own time", () => {
  const time = hlcNow(0, now);
  expect(hlcMillis(time)).toBe(now);
  expect(hlcMillis(hlcNow(time, now + 5))).toBe(now + 5);
});

test("P11: a clock that is stuck or goes back still gives rising times", () => {
  let last = hlcNow(0, now);
  for (const millis of [now, now, now - 1000, 0, now - 1]) {
    const next = hlcNow(last, millis);
    expect(next).toBe(last + 1);
    last = next;
  }
});

test("P11: a counter that overflows runs into the next millisecond", () => {
  let last = hlcNow(0, now);
  for (let i = 0; i < 1024; i++) last = hlcNow(last, now);
  expect(hlcMillis(last)).toBe(now + 1);
});

test("P11: a remote time is taken over up to the bound", () => {
  const remote = hlcNow(0, now + 1000);
  expect(hlcReceive(0, remote, now, 5000)).toBe(remote + 1);
  expect(hlcMillis(hlcReceive(0, hlcNow(0, now + 3_600_000), now, 5000))).toBe(now + 5000);
  expect(hlcBounded(hlcNow(0, now - 1), now)).toBe(hlcNow(0, now - 1));
});

test("P11: times always rise and stay safe integers, whatever the clock does", () => {
  checkProperty(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: -1, max: 2 ** 43 + 10 }), fc.option(fc.maxSafeNat())), { minLength: 1 }),
      (steps) => {
        let last = 0;
        for (const [millis, remote] of steps) {
          const next = remote === null ? hlcNow(last, millis) : hlcReceive(last, remote, millis, 60_000);
          expect(Number.isSafeInteger(next)).toBe(true);
          expect(next > last || next === Number.MAX_SAFE_INTEGER).toBe(true);
          last = next;
        }
      },
    ),
  );
});

test("P11: a clock's offset is what the answer says, half a round trip ago", () => {
  expect(clockOffset({ sentAt: now, receivedAt: now + 200, serverTime: now + 60_100 })).toBe(60_000);
  expect(clockOffset({ sentAt: now, receivedAt: now + 200, serverTime: now - 59_900 })).toBe(-60_000);
});

test("P11: an offset that lies within what a reading can tell is left alone", () => {
  const reading = (receivedAt: number, serverTime: number) => ({ sentAt: now, receivedAt, serverTime });
  expect(clockOffset(reading(now, now + 1000), 0)).toBeUndefined();
  expect(clockOffset(reading(now, now + 1001), 0)).toBe(1001);
  // A slow answer tells less.
  expect(clockOffset(reading(now + 10_000, now + 12_000), 0)).toBeUndefined();
  expect(clockOffset(reading(now + 10_000, now + 20_000), 0)).toBe(15_000);
  // The first one is taken as it is.
  expect(clockOffset(reading(now, now + 1))).toBe(1);
});

test("P11: a reading during which the clock was moved back tells nothing", () => {
  expect(clockOffset({ sentAt: now, receivedAt: now - 1, serverTime: now })).toBeUndefined();
  expect(clockOffset({ sentAt: now, receivedAt: now, serverTime: Number.NaN })).toBeUndefined();
});
