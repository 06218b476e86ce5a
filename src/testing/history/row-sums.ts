/**
 * Sums of rows, so that a log need not hold them all.
 *
 * @module
 */

import { createHash } from "node:crypto";
import type { Rows } from "./recorded-run.ts";

/** One short text for each table, the same for the same rows in whatever order. */
export function sumRows(rows: Rows): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(rows).map(([table, list]) => {
      const texts = list.map((row) => JSON.stringify(row)).sort();
      return [table, `${list.length} ${createHash("sha256").update(texts.join()).digest("hex").slice(0, 12)}`];
    }),
  );
}
