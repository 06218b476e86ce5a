/**
 * CBOR documents that attack a decoder: unknown tags, shared references, records, false lengths, clashing keys, depth.
 *
 * @module
 */

const bytes = (...parts: readonly (number | readonly number[])[]): Uint8Array => Uint8Array.from(parts.flat());
const text = (value: string): number[] => [
  ...head(3, value.length),
  ...Array.from(value, (character) => character.charCodeAt(0)),
];
const uint32 = (value: number): number[] => [
  (value >>> 24) & 255,
  (value >>> 16) & 255,
  (value >>> 8) & 255,
  value & 255,
];

function head(major: number, value: number): number[] {
  const type = major << 5;
  if (value < 24) return [type | value];
  if (value < 256) return [type | 24, value];
  return value < 65536 ? [type | 25, value >> 8, value & 255] : [type | 26, ...uint32(value)];
}

const tag = (number: number, ...content: readonly number[]): number[] => [...head(6, number), ...content];

/** Small documents, each of which must be refused. */
export const hostileDocuments: Readonly<Record<string, Uint8Array>> = {
  nothing: bytes(),
  "bytes after the end": bytes(1, 2),
  "a truncated text": bytes(0x65, 0x61),
  "a truncated length": bytes(0x79, 0x01),
  "a duplicate key": bytes(0xa2, text("a"), 1, text("a"), 2),
  "a duplicate key in another spelling of its length": bytes(0xa2, text("a"), 1, 0x78, 1, 0x61, 2),
  "a duplicate key among many": bytes(
    head(5, 40),
    ...Array.from({ length: 39 }, (_, i) => [...text(`key ${i}`), 0]),
    text("key 7"),
    1,
  ),
  "a key that is a float": bytes(0xa1, 0xf9, 0, 0, 1),
  "a key __proto__": bytes(0xa1, text("__proto__"), 0xa1, text("x"), 1),
  "a key that is the number of no field": bytes(0xa1, head(0, 255), 2),
  "a key that is a huge number": bytes(0xa1, 0x1b, uint32(0x1fffff), uint32(0xffffffff), 2),
  "a negative key": bytes(0xa1, 0x20, 2),
  "the number of a field twice": bytes(0xa2, 1, 2, 1, 2),
  "the number of a field in another spelling": bytes(0xa2, 1, 2, 0x18, 1, 2),
  "the number of a field and its name": bytes(0xa2, 1, 2, text("epoch"), 2),
  "the name of a field and its number, among many": bytes(
    head(5, 40),
    text("epoch"),
    1,
    ...Array.from({ length: 38 }, (_, i) => [...text(`key ${i}`), 0]),
    1,
    1,
  ),
  "a null key": bytes(0xa1, 0xf6, 1),
  "an array key": bytes(0xa1, 0x80, 1),
  "a byte-string key": bytes(0xa1, 0x41, 0x61, 1),
  "a huge array": bytes(0x9a, uint32(0xfffffff0)),
  "a huge array of eight bytes of length": bytes(0x9b, uint32(0), uint32(0xfffffff0)),
  "a huge map": bytes(0xba, uint32(0xfffffff0)),
  "a huge text": bytes(0x7a, uint32(0xfffffff0)),
  "a huge byte string": bytes(0x5b, uint32(0x7fffffff), uint32(0xffffffff)),
  "an indefinite array": bytes(0x9f, 1, 0xff),
  "an indefinite map": bytes(0xbf, text("a"), 1, 0xff),
  "an indefinite text": bytes(0x7f, text("a"), 0xff),
  "a reserved length": bytes(0x1c),
  "an integer beyond 64 bits": bytes(0x1b, uint32(0x80000000), uint32(0)),
  "a negative integer beyond 64 bits": bytes(0x3b, uint32(0x80000000), uint32(0)),
  undefined: bytes(0xf7),
  "a simple value": bytes(0xe0),
  "a simple value of two bytes": bytes(0xf8, 0xff),
  "a date": bytes(tag(0, ...text("2020-01-01"))),
  "an epoch time": bytes(tag(1, 0)),
  "a bignum": bytes(tag(2, 0x41, 0xff)),
  "a bignum tag on a text": bytes(tag(2, ...text("a"))),
  "a set": bytes(tag(258, ...text("abc"))),
  "a map of any keys": bytes(tag(259, 0xa1, 0x80, 1)),
  "a regular expression": bytes(tag(27, 0x82, ...text("RegExp"), ...text("(a+)+$"))),
  "an error": bytes(tag(27, 0x82, ...text("Error"), ...text("boo"))),
  "a shared reference": bytes(tag(28, 0x81, ...tag(29, 0))),
  "a record": bytes(tag(105, 0x83, 0x19, 0xe0, 0x05, 0x81, ...text("pw"), 1)),
  "an inline record": bytes(tag(0xdfff, 0x83, 0x19, 0xe0, 0x05, 0x81, ...text("admin"), 0xf5)),
  "a packed table": bytes(tag(51, 0x84, 0x81, ...text("hello"), 0x80, 0x80, 0x82, 0xe0, 0xe0)),
  "bundled strings": bytes(tag(0xdff9, 0x82, 0x1a, ...uint32(2), 0xc0 | 14, 1, ...text("x"), ...text("y"))),
  "a typed array of a gigabyte": bytes(tag(86, 0xa1, ...text("buffer"), 0x1a, ...uint32(1 << 30))),
  "an unknown tag": bytes(tag(0x1234, 1)),
  "our tag on another integer": bytes(tag(40_400, 1)),
  "our tag on a text": bytes(tag(40_400, ...text("a"))),
  "our tag on our tag": bytes(tag(40_400, ...tag(40_400, 0))),
  "our tag at the end": bytes(tag(40_400)),
  "our tag on half a unit": bytes(tag(40_400, 0x41, 0x61)),
};

/** Large documents that make a naive decoder slow or hungry; they may be refused or decoded, but quickly. */
export function largeDocuments(size: number): Readonly<Record<string, Uint8Array>> {
  const shared = [...head(4, 41), ...tag(28, 0x80)];
  for (let i = 0; i < 40; i++) shared.push(...tag(28, 0x82, ...tag(29, ...head(0, i)), ...tag(29, ...head(0, i))));
  const keys: number[] = [];
  const keyCount = Math.floor(size / 6);
  for (let i = 0; i < keyCount; i++)
    keys.push(
      0x64,
      33 + (i % 90),
      33 + (Math.floor(i / 90) % 90),
      33 + (Math.floor(i / 8100) % 90),
      33 + Math.floor(i / 729_000),
      0,
    );
  const maps: number[] = [];
  const oneMap = [...head(5, 4096), ...keys.slice(0, 4096 * 6)];
  const mapCount = Math.max(1, Math.floor(size / oneMap.length));
  for (let i = 0; i < mapCount; i++) maps.push(...oneMap);
  return {
    "shared references that double": bytes(shared),
    "deep arrays": new Uint8Array(size).fill(0x81),
    "deep maps": Uint8Array.from({ length: size }, (_, i) => [0xa1, 0x61, 0x61][i % 3] as number),
    "many empty maps": bytes(head(4, size), new Array<number>(size).fill(0xa0)),
    "many empty arrays": bytes(head(4, size), new Array<number>(size).fill(0x80)),
    "one map of many keys": bytes(head(5, keyCount), keys),
    "maps of many keys": bytes(head(4, mapCount), maps),
    "a long bignum": bytes(tag(2, ...head(2, size)), new Array<number>(size).fill(0xff)),
    "many tags": new Uint8Array(size).fill(0xc1),
  };
}
