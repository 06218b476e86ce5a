/**
 * Verifies the bearer token of a request, with jose.
 *
 * The algorithms are pinned by the kind of key, never by the token: a shared secret verifies HMAC alone, public keys
 * verify signatures alone. So neither `alg: none` nor a public key used as a secret gets anywhere. A key set that
 * cannot be fetched is the server's trouble, and says nothing about the token: 503, so that devices try again.
 *
 * @module
 */

import { TRPCError } from "@trpc/server";
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  errors,
  jwtVerify,
  type JSONWebKeySet,
  type JWTPayload,
  type JWTVerifyGetKey,
  type JWTVerifyOptions,
} from "jose";
import { SyncError } from "../../protocol/errors.ts";

/** What every kind of key takes. */
interface ClaimOptions {
  /** The `iss` that tokens must have, or one of them. @default any */
  readonly issuer?: string | readonly string[];
  /** The `aud` that tokens must have, or one of them. @default any */
  readonly audience?: string | readonly string[];
  /** Signing algorithms to accept, of the kind of the key. @default HS256; for public keys RS256, PS256, ES256, EdDSA */
  readonly algorithms?: readonly string[];
  /** Seconds by which clocks may differ. @default 5 */
  readonly clockTolerance?: number;
  /** Where in a request the token is. @default the `Authorization: Bearer` header */
  readonly token?: (request: Request) => string | null | undefined;
}

/** One of the three kinds of key. */
export type VerifyJwtOptions = ClaimOptions &
  (
    | {
        /** A shared secret of at least 32 bytes; several while one replaces another. */
        readonly secret: string | Uint8Array | readonly (string | Uint8Array)[];
        readonly keys?: never;
        readonly jwksUrl?: never;
      }
    | {
        /** Public keys, as a JSON Web Key Set. */
        readonly keys: JSONWebKeySet;
        readonly secret?: never;
        readonly jwksUrl?: never;
      }
    | {
        /** Where the issuer publishes its key set. Fetched when a key is new, at most every 30 seconds. */
        readonly jwksUrl: string | URL;
        readonly secret?: never;
        readonly keys?: never;
      }
  );

/** Who sent a request. */
export interface VerifiedJwt {
  /** The token's `sub`. */
  readonly subject: string;
  readonly claims: JWTPayload;
}

const signatureAlgorithms = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
];
const secretAlgorithms = ["HS256", "HS384", "HS512"];
const minSecretBytes = 32;

/**
 * Builds a verifier, once per process, for use in a `createContext`. It gives null for a request without a token, and
 * throws for one with a bad token (401) and when keys cannot be fetched (503): an expired token must not pass for
 * nobody's, or a device would drop what it may no longer read.
 *
 * @example
 * ```ts
 * const verify = verifyJwt({ jwksUrl: "https://issuer.example/.well-known/jwks.json", issuer: "https://issuer.example", audience: "app" });
 * export const createContext = async ({ req }: { req: Request }) => ({ user: await verify(req) });
 * ```
 */
export function verifyJwt(options: VerifyJwtOptions): (request: Request) => Promise<VerifiedJwt | null> {
  const check = options.secret === undefined ? publicKeyCheck(options) : secretCheck(options.secret, options);
  const tokenOf = options.token ?? bearerToken;
  return async (request) => {
    const token = tokenOf(request);
    if (token === null || token === undefined || token === "") return null;
    const claims = await verified(token, check);
    if (typeof claims.sub !== "string" || claims.sub === "") throw badToken("The token names no subject.");
    return { subject: claims.sub, claims };
  };
}

type Check = (token: string) => Promise<JWTPayload>;

function secretCheck(secret: string | Uint8Array | readonly (string | Uint8Array)[], options: ClaimOptions): Check {
  const list = typeof secret === "string" || secret instanceof Uint8Array ? [secret] : secret;
  const secrets = list.map((one) => (typeof one === "string" ? new TextEncoder().encode(one) : one));
  if (secrets.length === 0 || secrets.some((bytes) => bytes.byteLength < minSecretBytes)) {
    throw invalidConfig(`\`secret\` must have at least ${minSecretBytes} bytes.`);
  }
  if (list.some((one) => typeof one === "string" && one.includes("-----BEGIN"))) {
    throw invalidConfig("`secret` is a PEM key. Public keys go into `keys`, as a JSON Web Key Set.");
  }
  const claims = claimOptions(options, options.algorithms ?? ["HS256"], secretAlgorithms);
  return async (token) => {
    let refusal: unknown;
    for (const bytes of secrets) {
      try {
        return (await jwtVerify(token, bytes, claims)).payload;
      } catch (thrown) {
        // Only a bad signature may be good under another secret.
        if (!(thrown instanceof errors.JWSSignatureVerificationFailed)) throw thrown;
        refusal = thrown;
      }
    }
    throw refusal;
  };
}

function publicKeyCheck(options: VerifyJwtOptions): Check {
  const claims = claimOptions(
    options,
    options.algorithms ?? ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"],
    signatureAlgorithms,
  );
  const keys = keySource(options);
  return async (token) => {
    try {
      return (await jwtVerify(token, keys, claims)).payload;
    } catch (thrown) {
      if (!(thrown instanceof errors.JWKSMultipleMatchingKeys)) throw thrown;
      // The token names no key, and several are of its algorithm.
      for await (const key of thrown) {
        try {
          return (await jwtVerify(token, key, claims)).payload;
        } catch (other) {
          if (!(other instanceof errors.JWSSignatureVerificationFailed)) throw other;
        }
      }
      throw new errors.JWSSignatureVerificationFailed();
    }
  };
}

function keySource(options: VerifyJwtOptions): JWTVerifyGetKey {
  if (options.keys !== undefined) return createLocalJWKSet(options.keys);
  if (options.jwksUrl !== undefined) return createRemoteJWKSet(new URL(options.jwksUrl));
  throw invalidConfig("`verifyJwt` needs one of `secret`, `keys` and `jwksUrl`.");
}

function claimOptions(
  options: ClaimOptions,
  algorithms: readonly string[],
  possible: readonly string[],
): JWTVerifyOptions {
  const wrong = algorithms.find((algorithm) => !possible.includes(algorithm));
  if (wrong !== undefined || algorithms.length === 0) {
    throw invalidConfig(`\`algorithms\` must be some of ${possible.join(", ")} with this kind of key.`);
  }
  return {
    algorithms: [...algorithms],
    clockTolerance: options.clockTolerance ?? 5,
    requiredClaims: ["sub", "exp"],
    ...(options.issuer === undefined ? {} : { issuer: mutable(options.issuer) }),
    ...(options.audience === undefined ? {} : { audience: mutable(options.audience) }),
  };
}

function mutable(value: string | readonly string[]): string | string[] {
  return typeof value === "string" ? value : [...value];
}

function bearerToken(request: Request): string | null {
  const header = request.headers.get("authorization");
  if (header === null || !/^bearer(?: |$)/i.test(header)) return null;
  const token = header.slice("bearer ".length).trim();
  if (token === "") throw badToken("The `Authorization` header has no token.");
  return token;
}

async function verified(token: string, check: Check): Promise<JWTPayload> {
  try {
    return await check(token);
  } catch (cause) {
    if (isVerdict(cause)) {
      throw badToken(cause instanceof errors.JWTExpired ? "The token has expired." : "The token is not valid.", cause);
    }
    const error = new SyncError({
      code: "UNAVAILABLE",
      message: "The keys that verify tokens cannot be fetched.",
      cause,
    });
    throw new TRPCError({ code: "SERVICE_UNAVAILABLE", message: error.message, cause: error });
  }
}

/** Whether an error judges the token. Trouble with fetching keys (timeout, status, network) judges nothing. */
function isVerdict(thrown: unknown): boolean {
  if (!(thrown instanceof errors.JOSEError)) return false;
  return (
    !(thrown instanceof errors.JWKSTimeout) &&
    !(thrown instanceof errors.JWKSInvalid) &&
    thrown.code !== "ERR_JOSE_GENERIC"
  );
}

/** A `TRPCError`, since a `createContext` serves tRPC's own adapters too. */
function badToken(message: string, cause?: unknown): TRPCError {
  const error = new SyncError({ code: "UNAUTHORIZED", message, ...(cause === undefined ? {} : { cause }) });
  return new TRPCError({ code: "UNAUTHORIZED", message, cause: error });
}

function invalidConfig(message: string): SyncError {
  return new SyncError({ code: "INVALID_CONFIG", message });
}
