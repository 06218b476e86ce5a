/**
 * One request on its way through the handler, and what is written down about it when it is over: a line for the
 * logger and a count for the metrics.
 *
 * @module
 */

import type { SyncErrorCode } from "../../protocol/errors.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Inbound } from "./inbound.ts";
import type { Metrics } from "./metrics.ts";
import { logRequest, type SyncLogger } from "./request-log.ts";

export interface Exchange {
  readonly inbound: Inbound;
  readonly endpoint: Endpoint | "unknown";
  /** What `createContext` wants said with the answer. */
  readonly answerHeaders: Headers;
  /** Where it is counted, if anywhere. */
  readonly metrics: Metrics | undefined;
  /** Notes the size of the request's body. */
  readonly received: (bytes: number) => void;
  /** Leaves the end to `finish`: a stream is over long after its answer began. */
  readonly goOn: () => void;
  readonly isGoingOn: () => boolean;
  /** Writes down that it is over. */
  readonly finish: (status: number, bytesOut: number, code?: SyncErrorCode) => void;
}

/** Starts an exchange; its clock runs from now. */
export function startExchange(
  start: Pick<Exchange, "inbound" | "endpoint">,
  logger: SyncLogger | undefined,
  metrics: Metrics | undefined,
): Exchange {
  const startedAt = performance.now();
  let bytesIn = 0;
  let goesOn = false;
  return {
    ...start,
    metrics,
    answerHeaders: new Headers(),
    received: (bytes) => {
      bytesIn = bytes;
    },
    goOn: () => {
      goesOn = true;
    },
    isGoingOn: () => goesOn,
    finish(status, bytesOut, code) {
      const record = {
        // A caller chooses its method freely; labels must stay few.
        method: knownMethods.has(start.inbound.method) ? start.inbound.method : "other",
        endpoint: start.endpoint,
        status,
        ms: Math.round((performance.now() - startedAt) * 100) / 100,
        bytesIn,
        bytesOut,
      };
      metrics?.count(record);
      if (logger !== undefined) logRequest(logger, code === undefined ? record : { ...record, code });
    },
  };
}

const knownMethods: ReadonlySet<string> = new Set(["GET", "HEAD", "POST", "OPTIONS"]);
