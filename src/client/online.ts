/**
 * Whether there is a network, as far as the platform knows: a hint that saves waiting, never a proof. Injectable; nothing
 * is touched at import, and where the platform tells nothing (Node) one is simply online.
 *
 * @module
 */

/** What an online source tells. `visible`: the page came back to the front, a stream may have died unnoticed. */
export type OnlineChange = "online" | "offline" | "visible";

/** A source of hints about the network. */
export interface OnlineSource {
  isOnline(): boolean;
  /** Subscribes to changes; returns the unsubscribe function. */
  subscribe(listener: (change: OnlineChange) => void): () => void;
}

/** The part of a window or worker scope that is used. */
interface Scope {
  readonly navigator?: { readonly onLine?: boolean };
  readonly document?: EventTarget & { readonly visibilityState?: string };
  addEventListener?(type: string, listener: () => void): void;
  removeEventListener?(type: string, listener: () => void): void;
}

/** The platform's own source: `navigator.onLine`, its events, and visibility where there is a document. */
export function platformOnline(): OnlineSource {
  // Typed structurally: the same code runs in windows, workers and Node.
  const scope = globalThis as unknown as Scope;
  return {
    isOnline: () => scope.navigator?.onLine !== false,
    subscribe(listener) {
      const online = (): void => listener("online");
      const offline = (): void => listener("offline");
      const visible = (): void => {
        if (scope.document?.visibilityState === "visible") listener("visible");
      };
      scope.addEventListener?.("online", online);
      scope.addEventListener?.("offline", offline);
      scope.document?.addEventListener("visibilitychange", visible);
      return () => {
        scope.removeEventListener?.("online", online);
        scope.removeEventListener?.("offline", offline);
        scope.document?.removeEventListener("visibilitychange", visible);
      };
    },
  };
}
