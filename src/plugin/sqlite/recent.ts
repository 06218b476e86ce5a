/**
 * A bounded cache by text: what was not used for longest goes first.
 *
 * @module
 */

/** The most recently used values by their text. */
export interface Recent<T> {
  get(text: string): T | undefined;
  set(text: string, value: T): void;
  clear(): void;
}

/** Makes a cache of at most `size` values. */
export function createRecent<T>(size: number): Recent<T> {
  const values = new Map<string, T>();
  return {
    get(text) {
      const value = values.get(text);
      // A map keeps the order of insertion: what is used goes to the end.
      if (value !== undefined && values.size > size / 2) {
        values.delete(text);
        values.set(text, value);
      }
      return value;
    },
    set(text, value) {
      if (values.size >= size)
        for (const oldest of values.keys()) {
          values.delete(oldest);
          break;
        }
      values.set(text, value);
    },
    clear() {
      values.clear();
    },
  };
}
