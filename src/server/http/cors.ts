/**
 * Who may call from a browser: nobody but the own origin, unless the app names others.
 *
 * Two rules keep a foreign page from acting with a visitor's cookies. Bodies must be `application/cbor`, which no form
 * can send and no script can without a preflight, which fails. And a request from a foreign origin that carries cookies
 * all the same (an image, a link, an event source) is refused, unless that origin was named and credentials allowed.
 *
 * @module
 */

import { SyncError } from "../../protocol/errors.ts";
import { acceptEncodingHeader, encodingHeader } from "../../protocol/http.ts";
import type { Answer } from "./answer.ts";
import { refuse } from "./error-answer.ts";
import type { Inbound } from "./inbound.ts";

export interface CorsOptions {
  /** The origins that may call, `https://app.example` and the like; `"*"` for all; or a function that decides. */
  readonly origins: readonly string[] | "*" | ((origin: string) => boolean);
  /** Whether their requests may carry cookies. Not together with `"*"`. @default false */
  readonly credentials?: boolean;
  /** Seconds for which a browser may remember the answer to a preflight. @default 600 */
  readonly maxAge?: number;
  /** Request headers allowed beyond those that the transport sends. @default [] */
  readonly headers?: readonly string[];
}

export interface Cors {
  /** Throws `FORBIDDEN` for a foreign page's request with cookies. */
  readonly check: (inbound: Inbound) => void;
  /** The answer to a preflight, or to any other `OPTIONS`. */
  readonly preflight: (inbound: Inbound, methods: readonly string[]) => Answer;
  /** Adds to an answer what lets the page that asked read it. */
  readonly open: (inbound: Inbound, headers: Headers) => void;
}

const requestHeaders = ["authorization", "content-type", "content-encoding", acceptEncodingHeader, "last-event-id"];
const answerHeaders = [encodingHeader, "retry-after"].join(", ");

/** Builds the rules once; without options everything stays closed. */
export function createCors(options: CorsOptions | undefined): Cors {
  const credentials = options?.credentials ?? false;
  if (options?.origins === "*" && credentials) {
    const message = "`cors` cannot allow credentials for all origins. Name the origins.";
    throw new SyncError({ code: "INVALID_CONFIG", message });
  }
  const isAllowed = allowed(options?.origins ?? []);
  const open = (inbound: Inbound, headers: Headers): void => {
    if (options === undefined) return;
    headers.append("vary", "origin");
    const origin = inbound.headers.get("origin");
    if (origin === null || !isAllowed(origin)) return;
    headers.set("access-control-allow-origin", options.origins === "*" ? "*" : origin);
    headers.set("access-control-expose-headers", answerHeaders);
    if (credentials) headers.set("access-control-allow-credentials", "true");
  };
  return {
    open,
    check(inbound) {
      if (!inbound.headers.has("cookie") || !isForeign(inbound)) return;
      const origin = inbound.headers.get("origin");
      if (credentials && origin !== null && isAllowed(origin)) return;
      const message = "Requests from another origin must not carry cookies.";
      throw refuse(403, new SyncError({ code: "FORBIDDEN", message }));
    },
    preflight(inbound, methods) {
      const headers = new Headers({ allow: [...methods, "OPTIONS"].join(", ") });
      open(inbound, headers);
      if (headers.has("access-control-allow-origin")) {
        headers.set("access-control-allow-methods", methods.join(", "));
        headers.set("access-control-allow-headers", [...requestHeaders, ...(options?.headers ?? [])].join(", "));
        headers.set("access-control-max-age", String(options?.maxAge ?? 600));
      }
      return { status: 204, headers, body: null };
    },
  };
}

function allowed(origins: CorsOptions["origins"]): (origin: string) => boolean {
  if (origins === "*") return () => true;
  if (typeof origins === "function") return origins;
  const known = new Set(origins);
  return (origin) => known.has(origin);
}

/**
 * Whether a browser says that a page of another origin sent this. Hosts are compared, not whole origins: behind a proxy
 * the handler sees `http` where the page saw `https`. A page cannot set any of these headers without a preflight.
 */
function isForeign({ headers, url }: Inbound): boolean {
  const site = headers.get("sec-fetch-site");
  if (site === "same-origin" || site === "none") return false;
  const origin = headers.get("origin");
  if (origin === null) return site !== null;
  const host = URL.canParse(origin) ? new URL(origin).host : "";
  const own = [headers.get("host"), headers.get("x-forwarded-host"), url.host];
  return host === "" || !own.includes(host);
}
