import { describe, expect, test } from "vitest";
import { foldOne, insert } from "../testing/row-operations.ts";
import { findMoveFault, findRightFault } from "./rights.ts";

const { table } = foldOne(insert("t", {}));
const may = new Set(["mine", "ours"]);

describe("P9: a row may be changed", () => {
  test("if one of the scopes it is in is writable", () => {
    for (const before of [["mine"], ["theirs", "mine"], ["mine", "ours"]])
      expect(findRightFault(table, before, may)).toBeUndefined();
  });

  test("and not if none is, or it is in none", () => {
    for (const before of [["theirs"], ["theirs", "yours"], []])
      expect(findRightFault(table, before, may)).toEqual({
        code: "SCOPE_NOT_WRITABLE",
        message: "A row of table `todos` is in no scope that this subject may write.",
      });
    expect(findRightFault(table, ["mine"], new Set())).toMatchObject({ code: "SCOPE_NOT_WRITABLE" });
  });
});

describe("P9: a row may come to be where it is", () => {
  const faultOf = (before: readonly string[], after: readonly string[] | undefined): string | undefined =>
    findMoveFault(table, before, after, may)?.message;

  test.each([
    [["mine"], ["mine"]],
    [["mine"], ["ours"]],
    [[], ["mine"]],
    [["mine"], undefined],
    [[], undefined],
    // What it was in before, and stays in, is not asked about.
    [
      ["mine", "theirs"],
      ["mine", "theirs"],
    ],
    [
      ["mine", "theirs"],
      ["ours", "theirs"],
    ],
    [["theirs"], ["theirs", "mine"]],
  ])("from %j to %j", (before, after) => {
    expect(faultOf(before, after)).toBeUndefined();
  });

  test.each([
    [["mine"], [], "would be in no scope at all"],
    [[], [], "would be in no scope at all"],
    [["mine"], ["theirs"], "would be in no scope that this subject may write"],
    [["theirs"], ["theirs"], "would be in no scope that this subject may write"],
    [["mine"], ["mine", "theirs"], "would enter a scope that this subject may not write"],
    [[], ["mine", "theirs"], "would enter a scope that this subject may not write"],
    [["mine", "theirs"], ["mine"], "would leave a scope that this subject may not write"],
    [["theirs"], ["mine"], "would leave a scope that this subject may not write"],
    [["mine", "theirs"], undefined, "would leave a scope that this subject may not write"],
    [["mine", "theirs"], ["mine", "yours"], "would enter a scope that this subject may not write"],
  ])("but not from %j to %j: it %s", (before, after, why) => {
    expect(faultOf(before, after)).toBe(`A row of table \`todos\` ${why}.`);
    expect(findMoveFault(table, before, after, may)?.code).toBe("SCOPE_NOT_WRITABLE");
  });
});
