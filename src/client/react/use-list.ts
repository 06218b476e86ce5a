"use client";
/**
 * A list that a client reads asynchronously, read again whenever something says that it may have changed.
 *
 * @module
 */

import { useEffect, useState } from "react";

/**
 * Reads a list and keeps it current. `read` and `subscribe` are stable; the list is empty until it was read. An error
 * while reading goes to the error boundary.
 */
export function useList<T>(
  read: () => Promise<readonly T[]>,
  subscribe: (onChange: () => void) => () => void,
): readonly T[] {
  const [list, setList] = useState<readonly T[]>(EMPTY);
  const [failure, setFailure] = useState<{ readonly error: unknown; readonly read: unknown }>();
  useEffect(() => {
    let isCurrent = true;
    let isReading = false;
    let isStale = false;
    async function refresh(): Promise<void> {
      if (isReading) {
        isStale = true;
        return;
      }
      isReading = true;
      do {
        isStale = false;
        try {
          const next = await read();
          if (!isCurrent) return;
          setList(next);
          setFailure(undefined);
        } catch (error) {
          if (!isCurrent) return;
          setFailure({ error, read });
        }
        // Something changed while it was read.
      } while (isStale);
      isReading = false;
    }
    const stop = subscribe(() => void refresh());
    void refresh();
    return () => {
      isCurrent = false;
      stop();
    };
  }, [read, subscribe]);
  // A failure belongs to the client that it is of, and lasts until the list could be read.
  if (failure?.read === read) throw failure.error;
  return list;
}

const EMPTY: readonly never[] = [];
