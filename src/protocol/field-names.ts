/**
 * The names of the fields of messages. In CBOR a field travels as its place in this list, since most messages are small and
 * their names would be most of them; JSON has the names. A field that is added after the first release travels by its name:
 * the other side may not know its place.
 *
 * @module
 */

/** All fields, those of the smallest and most frequent messages first: the first 24 take one byte. */
export const fieldNames: readonly string[] = `
  kind epoch from to scopes schema changes lastTx number stamp ackedTx outcomes deviceId cursor held
  baseSchema limit time previous shapes txs hlc ops table columns round phase added fresh s0 head next after
  shared remaining wanted check checksums because reason protocol hash tables outdated declaration limits
  maxRequestBytes maxPushTransactions maxPageRows frames status conflicts key winner client server code
  message operation index cause error details packed
`
  .trim()
  .split(/\s+/);

/** The place of each field in {@link fieldNames}. */
export const fieldNumbers: Readonly<Record<string, number>> = Object.fromEntries(
  fieldNames.map((name, number) => [name, number]),
);
