/**
 * One connection, many who want it: interactive transactions of pages, single statements, the sync engine. Whoever holds
 * the gate is alone; the others come in the order in which they asked.
 *
 * @module
 */

/** A first-in, first-out lock. */
export interface Gate {
  /** Whether somebody holds it. */
  readonly isTaken: boolean;
  /** Waits for its turn. The returned function, called once, lets the next one in. */
  readonly take: () => Promise<() => void>;
  /** Runs `work` in its turn: at once when the gate is free. */
  readonly run: <T>(work: () => T) => Promise<T>;
  /** Resolves when nobody holds it or waits for it. */
  readonly idle: () => Promise<void>;
}

/** Makes an open gate. */
export function createGate(): Gate {
  let isTaken = false;
  const waiting: (() => void)[] = [];

  function leave(): void {
    const next = waiting.shift();
    // Handed over without opening it in between, so nobody overtakes.
    if (next) next();
    else isTaken = false;
  }

  async function take(): Promise<() => void> {
    if (isTaken) await new Promise<void>((resolve) => waiting.push(resolve));
    isTaken = true;
    let left = false;
    return () => {
      if (left) return;
      left = true;
      leave();
    };
  }

  return {
    get isTaken() {
      return isTaken;
    },
    take,
    run: async (work) => {
      if (!isTaken) {
        // Synchronous work cannot be interleaved, so a free gate need not be taken.
        return work();
      }
      const release = await take();
      try {
        return work();
      } finally {
        release();
      }
    },
    idle: async () => {
      while (isTaken) (await take())();
    },
  };
}
