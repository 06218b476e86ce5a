/**
 * A transport that calls a server in the same process: no network, no codec, but what goes over is copied, so that neither
 * side ever holds an object of the other.
 *
 * @module
 */

import type { Transport } from "../client/transport.ts";
import { isSyncError, SyncError } from "../protocol/errors.ts";
import type { SyncCaller, SyncService } from "../server/service.ts";

/** Options of {@link inProcessTransport}. */
export interface InProcessTransportOptions {
  /** The server; asked with each call, since a test may put another one in its place. */
  readonly service: () => SyncService;
  /** Who calls; asked with each call, null while nobody is signed in. */
  readonly caller: () => SyncCaller | null;
  /** What the live stream carries; absent for a transport without one. */
  readonly live?: "pages" | "pokes";
}

/** Creates the transport. */
export function inProcessTransport({ service, caller, live }: InProcessTransportOptions): Transport {
  let isClosed = false;
  const known = (): SyncCaller => {
    if (isClosed) throw new SyncError({ code: "CLOSED", message: "The transport is closed." });
    const found = caller();
    if (!found) throw new SyncError({ code: "UNAUTHORIZED", message: "Nobody is signed in." });
    return found;
  };
  const call = async <TRequest, TAnswer>(
    request: TRequest,
    signal: AbortSignal,
    run: (caller: SyncCaller, request: TRequest) => Promise<TAnswer>,
  ): Promise<TAnswer> => {
    requireWanted(signal);
    const answer = await run(known(), structuredClone(request));
    requireWanted(signal);
    return structuredClone(answer);
  };
  return {
    handshake: (request, { signal }) => call(request, signal, (who, sent) => service().handshake(who, sent)),
    pull: (request, { signal }) => call(request, signal, (who, sent) => service().pull(who, sent)),
    push: (request, { signal }) => call(request, signal, (who, sent) => service().push(who, sent)),
    ...(live === undefined
      ? {}
      : {
          liveKind: live,
          async *live(request, { signal }) {
            try {
              for await (const { frame } of service().stream(known(), structuredClone(request), {
                carries: live,
                signal,
              }))
                yield structuredClone(frame);
            } catch (error) {
              if (signal.aborted) return;
              throw isSyncError(error)
                ? error
                : new SyncError({ code: "UNAVAILABLE", message: "The stream failed.", cause: error });
            }
          },
        }),
    close: () => {
      isClosed = true;
    },
  };
}

function requireWanted(signal: AbortSignal): void {
  if (signal.aborted) throw new SyncError({ code: "ABORTED", message: "The call was aborted.", cause: signal.reason });
}
