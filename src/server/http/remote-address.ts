/**
 * The address a request came from. A web `Request` has no place for it, so the adapter that knows it notes it here.
 *
 * @module
 */

const addresses = new WeakMap<Request, string>();

/** Notes the address of a request. For adapters; `toNodeListener` does so by itself. */
export function setRemoteAddress(request: Request, address: string): void {
  addresses.set(request, address);
}

/** The address a request came from, where its adapter told. */
export function remoteAddress(request: Request): string | undefined {
  return addresses.get(request);
}
