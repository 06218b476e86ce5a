/**
 * A transport that asks for its token elsewhere: the worker of a browser is given a transport without one, and asks the
 * pages.
 *
 * @module
 */

import type { CallOptions, Transport } from "./transport.ts";

/** Gives every call a token, to be used where the transport has no way of its own to one. */
export function withToken(transport: Transport, token: NonNullable<CallOptions["token"]>): Transport {
  const live = transport.live?.bind(transport);
  const flush = transport.flush?.bind(transport);
  const prepare = transport.prepare?.bind(transport);
  const { liveKind } = transport;
  return {
    handshake: (request, options) => transport.handshake(request, { token, ...options }),
    pull: (request, options) => transport.pull(request, { token, ...options }),
    push: (request, options) => transport.push(request, { token, ...options }),
    ...(live === undefined ? {} : { live: (request, options) => live(request, { token, ...options }) }),
    ...(liveKind === undefined ? {} : { liveKind }),
    ...(flush === undefined ? {} : { flush }),
    ...(prepare === undefined ? {} : { prepare }),
    close: () => transport.close?.(),
  };
}
