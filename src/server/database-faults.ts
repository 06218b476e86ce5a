/**
 * What a failed statement means for the transaction that it belongs to. A fault of the data is final: the transaction is
 * refused, and the ones behind it go on. Anything else (a lock, a full disk, a missing table, a bug) is transient:
 * nothing is changed, and the device tries again (rule P12).
 *
 * @module
 */

/** `unique` and `foreign-key` may yet be settled; `constraint` and `value` are final; undefined is transient. */
export type DatabaseFault = "unique" | "foreign-key" | "constraint" | "value";

/** Tells faults of the data from all others. */
export function faultOf(error: unknown): DatabaseFault | undefined {
  const chain = chainOf(error);
  const codes = chain.map((each) => each.code);
  if (!codes.some((code) => code.startsWith("SQLITE_"))) return undefined;
  const messages = chain.map((each) => each.message);
  if (codes.some((code) => code.startsWith("SQLITE_CONSTRAINT"))) {
    if (codes.includes("SQLITE_CONSTRAINT_TRIGGER")) return "constraint";
    if (
      codes.includes("SQLITE_CONSTRAINT_UNIQUE") ||
      messages.some((message) => message.includes("UNIQUE constraint failed"))
    )
      return "unique";
    if (
      codes.includes("SQLITE_CONSTRAINT_FOREIGNKEY") ||
      messages.some((message) => message.includes("FOREIGN KEY constraint failed"))
    )
      return "foreign-key";
    return "constraint";
  }
  if (codes.includes("SQLITE_MISMATCH") || codes.includes("SQLITE_TOOBIG") || codes.includes("SQLITE_RANGE"))
    return "value";
  // An expression of the app (a CHECK, a trigger, a generated column) that these values make fail.
  if (codes.includes("SQLITE_ERROR") && messages.some((message) => dataErrors.test(message))) return "value";
  return undefined;
}

/** Whether somebody else holds the database's lock: then whatever is tried next waits as long again. */
export function isLocked(error: unknown): boolean {
  return chainOf(error).some(({ code }) => /^SQLITE_(BUSY|LOCKED)/.test(code));
}

/** Drivers and Drizzle wrap what SQLite said; the innermost error says most. */
function chainOf(error: unknown): readonly { readonly code: string; readonly message: string }[] {
  const chain: { readonly code: string; readonly message: string }[] = [];
  for (let at: unknown = error; at instanceof Error && chain.length < 8; at = at.cause) {
    const { code } = at as { readonly code?: unknown };
    chain.push({ code: typeof code === "string" ? code : "", message: at.message });
  }
  return chain;
}

// What SQLite says while it runs an expression over values. What it says of the schema, or of a function that is missing,
// is not among it: that may be mended, and every transaction would be refused meanwhile.
const dataErrors = new RegExp(
  [
    "malformed JSON",
    "JSON path",
    "JSON cannot hold BLOB",
    "bad JSON",
    "JSON nested too deep",
    "labels must be TEXT",
    "integer overflow",
    "string or blob too big",
    "pattern too complex",
    "ESCAPE expression must be",
    "non-deterministic use of",
    "too many levels of trigger recursion",
    "invalid Unicode escape",
  ].join("|"),
  "i",
);
