/**
 * Tokens come from pages: they know the session, the worker does not. The leader asks its own page; should that one not
 * answer soon (a page in the background may sleep), it asks those of the other tabs, and takes the first answer.
 *
 * @module
 */

import { SyncError } from "../../protocol/errors.ts";
import { fromPortError } from "./port-error.ts";
import type { PortError } from "./port-error.ts";

export interface PageTokens {
  /** Asks for a token; null when nobody is signed in. */
  ask(): Promise<string | null>;
  answer(id: number, token: string | null): void;
  fail(id: number, error: PortError): void;
}

const ASK_OTHERS_AFTER_MS = 2000;
const GIVE_UP_AFTER_MS = 30_000;

/** Makes the leader's side of asking. */
export function createPageTokens(options: { askPage(id: number): void; askTabs(id: number): void }): PageTokens {
  const waiting = new Map<number, { resolve(token: string | null): void; reject(error: unknown): void }>();
  let lastId = 0;

  function settle(id: number): { resolve(token: string | null): void; reject(error: unknown): void } | undefined {
    const entry = waiting.get(id);
    waiting.delete(id);
    return entry;
  }

  return {
    ask: () => {
      const id = ++lastId;
      return new Promise<string | null>((resolve, reject) => {
        const others = setTimeout(() => options.askTabs(id), ASK_OTHERS_AFTER_MS);
        const end = setTimeout(() => {
          settle(id)?.reject(
            new SyncError({ code: "TIMEOUT", message: "No page of this app answered the question for a token." }),
          );
        }, GIVE_UP_AFTER_MS);
        const stop = (): void => {
          clearTimeout(others);
          clearTimeout(end);
        };
        waiting.set(id, {
          resolve: (token) => {
            stop();
            resolve(token);
          },
          reject: (error) => {
            stop();
            reject(error);
          },
        });
        options.askPage(id);
      });
    },
    answer: (id, token) => settle(id)?.resolve(token),
    fail: (id, error) => settle(id)?.reject(fromPortError(error)),
  };
}
