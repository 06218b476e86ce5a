/**
 * The device's own state beside the log and `_sync_meta`: base images, staged pages, outcomes. The tables are created by
 * the installer; `src/client` alone reads and writes them. None of it is captured.
 *
 * @module
 */

/** Statements that create the device's state tables; each may be executed again at any time. */
export const deviceStateDdl: readonly string[] = [
  // Rule C4. What the base holds for rows whose visible form differs, or may differ, from it: rows with pending changes, and
  // rows that a cascade took along during replay. tbl: the table's key in the schema; row_key: the key as text (keyText). here: 1
  // when the base has the row. body, as CBOR: [key, column keys, values]; with here = 0 the last form that the row had before
  // a page took it away (P6), or no columns when it never was there.
  `CREATE TABLE IF NOT EXISTS _sync_base (
  tbl TEXT NOT NULL,
  row_key TEXT NOT NULL,
  here INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (tbl, row_key)
) WITHOUT ROWID`,
  // Rule I3. What has left the queue stays in the log for a while: at (milliseconds since 1970) the transactions up to the
  // marker at seq were known to be handled.
  `CREATE TABLE IF NOT EXISTS _sync_sent (
  seq INTEGER PRIMARY KEY,
  at INTEGER NOT NULL
)`,
  // Rule R1: the pages of the round in progress, in order, as CBOR.
  `CREATE TABLE IF NOT EXISTS _sync_stage (
  n INTEGER PRIMARY KEY,
  body BLOB NOT NULL
)`,
  // Merged, rejected and lost transactions until the app has dealt with them. id: the transaction's stamp, which names it on this
  // device for good. body: the outcome and the operations as they were written, as CBOR. told: 1 once a listener was told.
  `CREATE TABLE IF NOT EXISTS _sync_outcomes (
  n INTEGER PRIMARY KEY,
  id INTEGER NOT NULL,
  told INTEGER NOT NULL DEFAULT 0,
  body BLOB NOT NULL
)`,
  `CREATE INDEX IF NOT EXISTS _sync_outcomes_id ON _sync_outcomes (id)`,
];
