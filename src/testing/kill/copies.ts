/**
 * Copies of the server's database, taken and put back while it is down, as files, like a backup (rule I3).
 *
 * @module
 */

import { copyFileSync, existsSync, rmSync } from "node:fs";
import { openHistoryLog } from "../history/events.ts";
import type { Random } from "../random.ts";
import { databaseOf, logOf, SERVER } from "./read-run.ts";

/** The copies of one run. There is one at a time, so that what is put back is always an earlier state of what is there. */
export interface Copies {
  /** Takes a copy, or puts the last one back. */
  next(random: Random): void;
}

/** Begins without a copy. */
export function createCopies(folder: string): Copies {
  const parts = ["", "-wal"];
  const file = databaseOf(folder, SERVER);
  const copyOf = databaseOf(folder, "copy");
  let copy = 0;
  const move = (from: string, to: string): void => {
    for (const part of [...parts, "-shm"]) rmSync(to + part, { force: true });
    for (const part of parts) if (existsSync(from + part)) copyFileSync(from + part, to + part);
  };
  return {
    next(random) {
      const isRestore = copy > 0 && random.chance(0.5);
      if (isRestore) move(copyOf, file);
      else {
        move(file, copyOf);
        copy++;
      }
      const log = openHistoryLog(logOf(folder, SERVER));
      log.write({ kind: isRestore ? "restored" : "backup", copy });
      log.close();
    },
  };
}
