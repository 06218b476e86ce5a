/**
 * Asks for the next page of a round while the present one is applied. The next request is known as soon as a page has come:
 * it is the same one with the page's round state. It is sent before the page is handed over, since applying a page holds the
 * thread. Its answer is used only if the engine, once the page is applied, asks for exactly that; rule A1 is checked as ever
 * when it is applied. There is never more than one pull under way.
 *
 * @module
 */

import { SyncError } from "../protocol/errors.ts";
import type { PullAnswer, PullRequest } from "../protocol/pull.ts";
import { toJsonValues } from "../protocol/json-values.ts";
import type { Transport } from "./transport.ts";

/** Pulls one page ahead. */
export interface ReadAhead {
  /** The answer to a request. Rejects as the transport's `pull` does. */
  pull(request: PullRequest, signal: AbortSignal): Promise<PullAnswer>;
  /** Gives up what is under way. */
  drop(): void;
}

interface Ahead {
  readonly request: string;
  readonly answer: Promise<PullAnswer>;
  readonly controller: AbortController;
}

/** Creates it over a transport. */
export function createReadAhead(transport: Pick<Transport, "pull" | "flush">): ReadAhead {
  let ahead: Ahead | undefined;

  function drop(): void {
    ahead?.controller.abort();
    ahead = undefined;
  }

  /** The answer that was asked for ahead, if it is to this request; nothing else is under way afterwards. */
  function take(request: PullRequest, signal: AbortSignal): Promise<PullAnswer> | undefined {
    const found = ahead;
    if (found === undefined) return undefined;
    if (found.request !== textOf(request)) {
      drop();
      return undefined;
    }
    ahead = undefined;
    if (signal.aborted) found.controller.abort();
    else signal.addEventListener("abort", () => found.controller.abort(), { once: true });
    return found.answer;
  }

  return {
    async pull(request, signal) {
      const answer = await (take(request, signal) ?? transport.pull(request, { signal }));
      if (answer.kind === "page" && answer.round !== undefined && answer.to === undefined && !signal.aborted) {
        const next: PullRequest = { ...request, round: answer.round };
        const controller = new AbortController();
        const asked = transport.pull(next, { signal: controller.signal });
        // Whoever takes it hears of its failure; nobody else needs to.
        asked.catch(() => undefined);
        ahead = { request: textOf(next), answer: asked, controller };
        if (transport.flush) {
          await transport.flush();
          if (signal.aborted)
            throw new SyncError({ code: "ABORTED", message: "The call was aborted.", cause: signal.reason });
        }
      }
      return answer;
    },
    drop,
  };
}

/** Requests are the same when their texts are; the order of their fields says nothing. */
function textOf(request: PullRequest): string {
  const fields = Object.entries(request).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify(toJsonValues(fields));
}
