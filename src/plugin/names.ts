/**
 * The names of everything the library owns in a database, and the numbers it writes there. One prefix marks them all, so
 * that an app's tools can leave them alone (`tablesFilter: ["!_sync_*"]` in a drizzle config).
 *
 * @module
 */

/** Begins the name of every table, index and trigger of the library. */
export const PREFIX = "_sync_";

/** The oplog. On a server: keys, changed columns and scopes; on a device: new and old values as well. */
export const LOG = `${PREFIX}log`;

/** Numbers a table with its list of columns, so that entries written before a migration stay readable. */
export const LAYOUT = `${PREFIX}layout`;

/** State by key: role, epoch, horizon, cursor, … */
export const META = `${PREFIX}meta`;

/** On a device, a row here switches capture off for the transaction that wrote it. */
export const MUTE = `${PREFIX}mute`;

/** Rows that a statement may be about to evict (REPLACE), noted before and settled after it. */
export const EVICT = `${PREFIX}evict`;

/** Log positions by scope, for the part of the log that readers have indexed. */
export const SCOPE_INDEX = `${PREFIX}scope_runs`;

/** What they were in before there was {@link SCOPE_INDEX}: a row each. */
export const FORMER_SCOPE_INDEX = `${PREFIX}scope_index`;

/** The layout number of a marker, the row that closes a transaction. */
export const MARKER = 0;

/**
 * What a device's marker says of its transaction in the column `kind`: nothing, or the outcome that it left the queue with. A
 * rejected one has no operations any more, should it come back (I3).
 */
export const markerKinds = { plain: 0, merged: 1, rejected: 2 } as const;

/**
 * SQL for the id of the transaction that a device's marker closes: the stamp that it was written with. Once the stamp that it
 * is sent with was changed (I4), the one before stands in a column that markers have no other use for.
 */
export const TX_ID_SQL = "coalesce(o0, stamp)";

/** Entry kinds as they are stored. A delete is a kind of its own, so that an update that changed nothing is no delete. */
export const kindNumbers = { insert: 1, update: 2, delete: 3, moved: 4 } as const;

/** What stands for the scopes before an update in the server's log where they are those after it. */
export const SAME_SCOPES = 0;

export type EntryKind = keyof typeof kindNumbers;

/** The reverse of {@link kindNumbers}. */
export const kindNames: readonly (EntryKind | undefined)[] = Object.entries(kindNumbers).reduce<
  (EntryKind | undefined)[]
>((names, [name, number]) => {
  names[number] = name as EntryKind;
  return names;
}, []);

/** Keys of {@link META} that the plugin owns. Other parts add theirs beside them. */
export const metaKeys = {
  role: "role",
  epoch: "epoch",
  /** The log vouches for no position below it: `[seq, stamp]`, once trimmed with the latest time below it, as JSON text. */
  horizon: "horizon",
  /** Where the log ended at what time, now and then: `[[milliseconds, seq], …]` as JSON text. */
  ages: "ages",
  /** The seq up to which {@link SCOPE_INDEX} covers the log. */
  indexed: "indexed",
  /** SQL names of the tables that have been captured, by whatever version of the app. */
  tables: "tables",
  /** Counts how often a version of the app has put its own triggers in the place of another one's. */
  generation: "generation",
  /** The seq from which on the log tells everything, and by the present declaration: older cursors are reset. */
  declaredSince: "declared_since",
  /** Number and stamp of the last transaction that left a device's queue, and its place in the log: `[number, stamp, seq]`. */
  dropped: "dropped",
  /** The seq up to which a device does not keep any more what left its queue (I3); deleted in small steps. */
  pruned: "pruned",
  /** On a device, the hash of the schema that the app ran with last. */
  schema: "schema",
  /** Milliseconds by which the server's clock is ahead of a device's, as last measured (P11). */
  clock: "device.clock",
} as const;

/** Columns past this one share the last bit of a mask. */
export const LAST_MASK_BIT = 61;

/** SQL for a random stamp: 48 bits, so that it is a safe number in JavaScript. */
export const STAMP_SQL = "random() & 281474976710655";

/**
 * SQL for a limit that is a parameter. A parameter that stands alone is one that SQLite plans with: it compiles the statement
 * anew whenever it is bound, which takes ten times as long as reading a few entries.
 */
export const LIMIT_SQL = "LIMIT ? + 0";
