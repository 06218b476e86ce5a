/**
 * Who is calling, and whether they may call that often: the app's context, then the rate limit.
 *
 * @module
 */

import type { AnyTRPCRouter, inferRouterContext } from "@trpc/server";
import type { FetchCreateContextFnOptions } from "@trpc/server/adapters/fetch";
import type { Endpoint } from "./endpoint.ts";
import type { CreateContext } from "./handler-options.ts";
import type { Inbound } from "./inbound.ts";
import type { ProcedureName, Procedures } from "./procedures.ts";
import type { Charge } from "./rate-limit.ts";

/** A request that may go on. */
export interface Admitted<TContext> {
  readonly ctx: TContext;
  /** Charges for the transactions of a push, once they are known. */
  readonly forTransactions: (count: number) => Promise<void>;
}

/** A request at the door. */
export interface Entrant {
  readonly inbound: Inbound;
  readonly endpoint: Endpoint;
  readonly answerHeaders: Headers;
  readonly procedure: ProcedureName;
  /** Reads the input, for an app whose context depends on it. */
  readonly input: () => Promise<unknown>;
}

export type Admit<TContext> = (entrant: Entrant) => Promise<Admitted<TContext>>;

export function createAdmission<TRouter extends AnyTRPCRouter>(
  procedures: Procedures,
  createContext: CreateContext<TRouter> | undefined,
  charge: Charge<inferRouterContext<TRouter>>,
): Admit<inferRouterContext<TRouter>> {
  return async (entrant) => {
    const { inbound, endpoint } = entrant;
    let ctx: inferRouterContext<TRouter>;
    try {
      ctx = (await createContext?.(contextOptions(entrant, procedures))) ?? {};
    } catch (thrown) {
      // Guessing tokens is charged as well, by address.
      await charge(inbound, endpoint, undefined);
      throw thrown;
    }
    return { ctx, ...(await charge(inbound, endpoint, ctx)) };
  };
}

/** What tRPC's fetch adapter would hand over. */
function contextOptions(entrant: Entrant, procedures: Procedures): FetchCreateContextFnOptions {
  const { inbound, procedure, input, answerHeaders } = entrant;
  const call = {
    path: procedures.pathOf(procedure),
    getRawInput: input,
    result: () => undefined,
    procedure: null,
    batchIndex: 0,
  };
  return {
    get req() {
      return inbound.request;
    },
    resHeaders: answerHeaders,
    info: {
      accept: null,
      type: procedures.typeOf(procedure),
      isBatchCall: false,
      calls: [call],
      connectionParams: null,
      signal: inbound.signal,
      url: inbound.url,
    },
  };
}
