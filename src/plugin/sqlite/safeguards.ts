/**
 * The safeguards in the generated triggers, by name. Each is there because a kind of write would be captured wrongly, or not
 * at all, without it. Tests leave them out one by one and see a named test fail; nothing else may.
 *
 * @module
 */

/** What each safeguard is for. */
export const safeguards = {
  mute: "Capture is off while the engine applies pages (C6).",
  binary: "A change of case alone is a change, also where the column ignores case.",
  "key-move": "A changed key is a delete and an insert.",
  "rowid-move": "`SET rowid` moves an integer key without naming it.",
  "mask-share": "Columns past the 61st share a bit, so that no change shifts out of the mask.",
  "evict-unique": "A row that REPLACE evicts through a unique index is logged as deleted.",
  "evict-key": "A row that REPLACE overwrites is logged as deleted, with the scopes and values it had.",
  "evict-update": "A row that UPDATE OR REPLACE evicts is logged as deleted.",
  "evict-purge": "A noted row that is deleted in the ordinary way is not logged a second time.",
  "evict-fresh": "A note left by an ignored insert gives way to a fresh one.",
  "evict-move": "A noted row whose key moves is not taken for an evicted one.",
  "eviction-scopes": "Children of an evicted parent have had its scopes, though it is gone when their triggers run.",
  "evict-children": "Children that survive the eviction of their parent are logged as moved.",
  newest: "SQLite fires the newest trigger first: ours must be that, or a row is logged after what others did to it.",
  "moved-insert": "Children that were there before their parent are logged as moved when it comes (C7).",
  "moved-update": "Descendants of a row whose scopes change are logged as moved (C7).",
  "moved-key-before": "Descendants of a row whose key changes are logged with the scopes they had (C7).",
  "moved-key-after": "Descendants of a row whose key changed are logged with the scopes they have (C7).",
  "moved-delete": "Descendants of a row are logged with the scopes they had before it is deleted (C7).",
  "moved-deep": "Not only children but all descendants are logged as moved (C7).",
  "scope-class": "A number with a fraction or a blob names no scope: it has no one spelling.",
  "scope-line-feed": "A value with a line feed names no scope: it could smuggle in a second one.",
  "scope-escape": "Parts of a compound scope cannot run into each other.",
  "key-lock": "On a device the key of a row that others reference does not change (C8).",
} as const;

export type Safeguard = keyof typeof safeguards;

/** Safeguards to leave out; empty but in tests. */
export type Safeguards = ReadonlySet<Safeguard>;
