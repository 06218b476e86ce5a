import { expect, test } from "vitest";
import { SyncError } from "./errors.ts";
import { markMessage, readMarkedMessage } from "./marked-message.ts";

test("a marked message gives back the error, its code and its details", () => {
  const error = new SyncError({
    code: "SCHEMA_MISMATCH",
    message: "Odd [sync x] text].",
    details: { tooOld: "server" },
  });
  const cause = new Error("as tRPC threw it");
  const read = readMarkedMessage(markMessage(error), cause);
  expect(read).toMatchObject({ code: "SCHEMA_MISMATCH", message: error.message, details: { tooOld: "server" }, cause });
  expect(readMarkedMessage(markMessage(new SyncError({ code: "DEVICE_TAKEN", message: "" })))?.code).toBe(
    "DEVICE_TAKEN",
  );
});

test("a message of somebody else is none", () => {
  for (const text of [
    "",
    "Said so.",
    "x [sync ]",
    "x [sync null]",
    'x [sync {"code":"LATER"}]',
    'x [sync {"code":"FORBIDDEN"}] and more',
    "x [sync [1]]",
  ]) {
    expect(readMarkedMessage(text), text).toBeUndefined();
  }
});
