/**
 * Golden vectors: what messages encode to, fixed in the JSON files beside this one. They let another implementation check
 * itself, and stop this one from changing the wire by accident. `UPDATE_GOLDEN=1 npx vitest run src/protocol/golden`
 * followed by `npm run format` writes them anew, which is right only together with a new protocol version or before the first release.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { decodeCbor, encodeCbor } from "../cbor.ts";
import { packColumn } from "../column-codec.ts";
import { fieldNames } from "../field-names.ts";
import { hashSchema, hashScopes, hashValues, rowHash, seenValue } from "../hash.ts";
import type { Value } from "../ids.ts";
import { fromJsonValues, toJsonValues } from "../json-values.ts";
import { decodeLiveFrame, decodePullAnswer, encodeLiveFrame, encodePullAnswer } from "../page-codec.ts";
import {
  parseHandshakeAnswer,
  parseHandshakeRequest,
  parsePullRequest,
  parsePushAnswer,
  parsePushRequest,
} from "../parse.ts";
import { decodePushRequest, encodePushRequest } from "../push-codec.ts";
import type { CanonicalForm } from "../value.ts";
import * as messages from "../../testing/golden-messages.ts";

interface Vector {
  readonly name: string;
  readonly message: unknown;
  readonly hex: string;
}

/** One kind of message: its examples, and both ways of its codec. */
interface Kind {
  readonly examples: Readonly<Record<string, unknown>>;
  readonly encode: (message: never) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => unknown;
}

const parsed =
  (parse: (message: unknown) => unknown) =>
  (bytes: Uint8Array): unknown =>
    parse(decodeCbor(bytes));

const kinds: Readonly<Record<string, Kind>> = {
  "handshake-request": {
    examples: messages.handshakeRequests,
    encode: encodeCbor,
    decode: parsed(parseHandshakeRequest),
  },
  "handshake-answer": { examples: messages.handshakeAnswers, encode: encodeCbor, decode: parsed(parseHandshakeAnswer) },
  "pull-request": { examples: messages.pullRequests, encode: encodeCbor, decode: parsed(parsePullRequest) },
  "pull-answer": { examples: messages.pullAnswers, encode: encodePullAnswer, decode: decodePullAnswer },
  "push-request": {
    examples: messages.pushRequests,
    encode: encodePushRequest,
    decode: (bytes) => parsePushRequest(decodePushRequest(bytes)),
  },
  "push-answer": { examples: messages.pushAnswers, encode: encodeCbor, decode: parsed(parsePushAnswer) },
  "live-frame": { examples: messages.liveFrames, encode: encodeLiveFrame, decode: decodeLiveFrame },
};

const file = (name: string): URL => new URL(`./${name}.json`, import.meta.url);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const isUpdating = process.env["UPDATE_GOLDEN"] === "1";

function load<T>(name: string, make: () => readonly T[]): readonly T[] {
  if (isUpdating) writeFileSync(file(name), `${JSON.stringify(make(), null, 2)}\n`);
  return JSON.parse(readFileSync(file(name), "utf8")) as readonly T[];
}

describe.each(Object.entries(kinds))("%s", (name, { examples, encode, decode }) => {
  const vectors = load<Vector>(name, () =>
    // Each kind's encoder fits its own examples.
    Object.entries(examples).map(([each, message]) => ({
      name: each,
      message: toJsonValues(message),
      hex: hex(encode(message as never)),
    })),
  );

  test("every example has its vector", () => {
    expect(vectors.map((vector) => vector.name)).toEqual(Object.keys(examples));
  });

  test.each(vectors)("$name encodes to its bytes, and its bytes decode to it", (vector) => {
    const message = fromJsonValues(vector.message);
    expect(message).toStrictEqual(examples[vector.name]);
    expect(hex(encode(message as never))).toBe(vector.hex);
    expect(decode(Uint8Array.from(Buffer.from(vector.hex, "hex")))).toStrictEqual(message);
  });
});

test("every field of a message travels as a number", () => {
  const named = new Set<string>();
  // Below these, keys are the app's, or what is packed.
  const isEnd = (name: string): boolean =>
    ["tables", "outdated", "checksums", "client", "server", "changes"].includes(name);
  const collect = (message: unknown): void => {
    if (typeof message !== "object" || message === null || message instanceof Uint8Array) return;
    for (const [name, content] of Object.entries(message)) {
      if (!Array.isArray(message)) named.add(name);
      if (!isEnd(name)) collect(content);
    }
  };
  for (const { examples } of Object.values(kinds)) collect(Object.values(examples));
  expect([...named].filter((name) => !fieldNames.includes(name))).toEqual([]);
});

test("every way of packing a column is in a vector", () => {
  const codes = new Set<number>();
  for (const answer of Object.values(messages.pullAnswers)) {
    if (answer.kind === "page")
      for (const group of answer.changes) for (const column of group.values) codes.add(packColumn(column)[0]);
  }
  expect(codes).toEqual(new Set([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
});

interface HashVector {
  readonly what: string;
  readonly input: unknown;
  readonly output: unknown;
}

const hashInput: readonly Value[] = [
  null,
  0,
  -0,
  23,
  24,
  256,
  65_536,
  4_294_967_296,
  -1,
  1.5,
  Number.NaN,
  2n ** 53n + 1n,
  -(2n ** 63n),
  "",
  "aé😀",
  Uint8Array.of(0, 255),
];

const seenInputs: readonly (readonly [Value, CanonicalForm])[] = [
  [null, "text"],
  ["short", "text"],
  ["longer than thirty-two bytes, so that it travels as a hash", "text"],
  ["é\ud800".repeat(20), "text"],
  [1n, "integer"],
  [2n ** 62n, "integer"],
  [1.5, "real"],
  ['{ "b": [1, 2.0], "a": null }', "json"],
  ['{"z":"a JSON text of more than thirty-two bytes","a":[1,2,3]}', "json"],
  [new Uint8Array(40), "blob"],
  [-0, "any"],
];

const hashVectors = load<HashVector>("hashes", () => [
  ...seenInputs.map(([value, form]) => ({
    what: "seenValue",
    input: toJsonValues([value, form]),
    output: toJsonValues(seenValue(value, form)),
  })),
  { what: "hashValues", input: toJsonValues(hashInput), output: hashValues(hashInput) },
  {
    what: "rowHash",
    input: [
      ["a", '{"b":1,"a":2}', 1],
      ["text", "json", "boolean"],
    ],
    output: rowHash(["a", '{"b":1,"a":2}', 1], ["text", "json", "boolean"]),
  },
  { what: "hashScopes", input: ["everyone", "list:42"], output: hashScopes(["everyone", "list:42"]) },
  {
    what: "hashSchema",
    input: { todos: ["id", "title"], lists: ["id"] },
    output: hashSchema({ todos: ["id", "title"], lists: ["id"] }),
  },
]);

describe("hashes", () => {
  test.each(hashVectors)("P1: $what of $input", ({ what, input, output }) => {
    const value = fromJsonValues(input);
    expect(compute(what, value)).toStrictEqual(fromJsonValues(output));
  });
});

// A row hash or a hash of scopes crosses versions of this package, so it is part of the wire.
function compute(what: string, input: unknown): unknown {
  switch (what) {
    case "seenValue":
      return seenValue(...(input as readonly [Value, CanonicalForm]));
    case "hashValues":
      return hashValues(input as readonly Value[]);
    case "rowHash":
      return rowHash(...(input as readonly [readonly Value[], readonly CanonicalForm[]]));
    case "hashScopes":
      return hashScopes(input as readonly string[]);
    case "hashSchema":
      return hashSchema(input as Readonly<Record<string, readonly string[]>>);
    default:
      throw new Error(`No hash ${what}.`);
  }
}
