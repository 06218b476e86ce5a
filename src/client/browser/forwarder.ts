/**
 * What a page asked and nobody has answered yet: kept until the leader's answer comes, and sent again to the next leader
 * when it does not.
 *
 * @module
 */

import { leaderLost, toPortError } from "./port-error.ts";
import type { PortError } from "./port-error.ts";
import { isInsideTransaction, isWrite } from "./worker-messages.ts";
import type { LeaderRequest } from "./worker-messages.ts";

/** A request on its way to the leader. */
export interface ForwardedRequest {
  readonly epoch: string;
  readonly id: number;
  readonly request: LeaderRequest;
  readonly oldestWrite: number;
  readonly isRepeat: boolean;
}

export interface ForwarderOptions {
  send(request: ForwardedRequest): void;
  answer(id: number, value: unknown): void;
  fail(id: number, error: PortError): void;
  /** This worker leads now. */
  handleHere(id: number, request: LeaderRequest, isRepeat: boolean): void;
}

export interface Forwarder {
  /** Sends a request, or keeps it while nobody leads (`epoch` empty). */
  forward(id: number, request: LeaderRequest, epoch: string): void;
  answered(id: number, value: unknown): void;
  failed(id: number, error: PortError): void;
  /** Somebody leads from here on: what is open goes there. */
  drain(epoch: string, isHere: boolean): void;
  /** The file cannot be opened: everybody who waits hears why. */
  failAll(error: PortError): void;
}

/** Makes the list of open requests. */
export function createForwarder(options: ForwarderOptions): Forwarder {
  const open = new Map<number, { readonly request: LeaderRequest; sentTo: string }>();

  function send(id: number, isRepeat: boolean): void {
    const entry = open.get(id);
    if (!entry || entry.sentTo === "") return;
    options.send({ epoch: entry.sentTo, id, request: entry.request, oldestWrite: oldestWrite(id), isRepeat });
  }

  function oldestWrite(id: number): number {
    // Ids rise, so the first write is the oldest.
    for (const [other, { request }] of open) if (isWrite(request)) return other;
    return id;
  }

  return {
    forward: (id, request, epoch) => {
      open.set(id, { request, sentTo: epoch });
      send(id, false);
    },
    answered: (id, value) => {
      if (open.delete(id)) options.answer(id, value);
    },
    failed: (id, error) => {
      if (open.delete(id)) options.fail(id, error);
    },
    drain: (epoch, isHere) => {
      for (const [id, entry] of open) {
        const isRepeat = entry.sentTo !== "" && entry.sentTo !== epoch;
        const { request } = entry;
        const isCommit = request.op === "end" && request.commit;
        if (isRepeat && isInsideTransaction(request) && !isCommit) {
          open.delete(id);
          options.fail(id, toPortError(leaderLost()));
        } else if (isHere) {
          open.delete(id);
          options.handleHere(id, request, isRepeat);
        } else {
          entry.sentTo = epoch;
          send(id, isRepeat);
        }
      }
    },
    failAll: (error) => {
      for (const id of open.keys()) {
        open.delete(id);
        options.fail(id, error);
      }
    },
  };
}
