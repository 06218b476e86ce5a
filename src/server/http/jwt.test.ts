import { exportJWK, exportSPKI, generateKeyPair, SignJWT, UnsecuredJWT, type CryptoKey, type JWK } from "jose";
import { describe, expect, test } from "vitest";
import { TRPCError } from "@trpc/server";
import { isSyncError } from "../../protocol/errors.ts";
import { codeOf, get, listen } from "../../testing/http-calls.ts";
import { scriptedRouter } from "../../testing/scripted-service.ts";
import { createSyncHandler } from "./handler.ts";
import { verifyJwt, type VerifyJwtOptions } from "./jwt.ts";

const secret = "s".repeat(32);
const olderSecret = "o".repeat(32);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const now = (): number => Math.floor(Date.now() / 1000);

interface TokenParts {
  readonly alg?: string;
  readonly exp?: number | null;
  readonly sub?: string | null;
  readonly kid?: string;
}

function sign(
  key: Uint8Array | CryptoKey,
  { alg = "HS256", exp = now() + 300, sub = "ann", kid }: TokenParts = {},
): Promise<string> {
  const token = new SignJWT({
    iss: "issuer",
    aud: "app",
    ...(exp === null ? {} : { exp }),
    ...(sub === null ? {} : { sub }),
  });
  return token.setProtectedHeader(kid === undefined ? { alg } : { alg, kid }).sign(key);
}

const bearing = (token: string): Request => get("/v1/stats", { authorization: `Bearer ${token}` });

/** What a verifier makes of a token: its subject, or the tRPC and sync codes of what it throws. */
async function verdict(options: VerifyJwtOptions, token: string): Promise<string | undefined> {
  try {
    return (await verifyJwt(options)(bearing(token)))?.subject;
  } catch (thrown) {
    if (!(thrown instanceof TRPCError) || !isSyncError(thrown.cause)) throw thrown;
    return `${thrown.code} ${thrown.cause.code}`;
  }
}
const refused = "UNAUTHORIZED UNAUTHORIZED";
const unavailable = "SERVICE_UNAVAILABLE UNAVAILABLE";

async function keyPair(
  kid: string,
): Promise<{ readonly privateKey: CryptoKey; readonly publicKey: CryptoKey; readonly jwk: JWK }> {
  const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
  return { privateKey, publicKey, jwk: { ...(await exportJWK(publicKey)), kid, use: "sig" } };
}

describe("verifyJwt with a secret", () => {
  test("gives the subject and the claims of a good token, and null where there is none", async () => {
    const verify = verifyJwt({ secret, issuer: "issuer", audience: ["app", "other"] });
    const verified = await verify(bearing(await sign(bytes(secret))));
    expect(verified).toMatchObject({ subject: "ann", claims: { iss: "issuer", aud: "app" } });
    expect(await verify(get("/v1/stats"))).toBeNull();
    expect(await verify(get("/v1/stats", { authorization: "Basic abc" }))).toBeNull();
  });

  test("refuses bad tokens: signature, time, issuer, audience, form", async () => {
    expect(await verdict({ secret }, await sign(bytes("x".repeat(32))))).toBe(refused);
    expect(await verdict({ secret }, await sign(bytes(secret), { exp: now() - 60 }))).toBe(refused);
    expect(await verdict({ secret, issuer: "else" }, await sign(bytes(secret)))).toBe(refused);
    expect(await verdict({ secret, audience: "else" }, await sign(bytes(secret)))).toBe(refused);
    for (const token of ["a.b.c", "x", "..", "é"]) expect(await verdict({ secret }, token), token).toBe(refused);
    await expect(verifyJwt({ secret })(get("/v1/stats", { authorization: "Bearer" }))).rejects.toThrow("no token");
  });

  test("refuses a token that never expires, or names nobody", async () => {
    expect(await verdict({ secret }, await sign(bytes(secret), { exp: null }))).toBe(refused);
    expect(await verdict({ secret }, await sign(bytes(secret), { sub: null }))).toBe(refused);
    expect(await verdict({ secret }, await sign(bytes(secret), { sub: "" }))).toBe(refused);
  });

  test("forgives clocks that differ a little", async () => {
    const token = await sign(bytes(secret), { exp: now() - 10 });
    expect(await verdict({ secret }, token)).toBe(refused);
    expect(await verdict({ secret, clockTolerance: 30 }, token)).toBe("ann");
  });

  test("takes several secrets while one replaces another", async () => {
    const options = { secret: [secret, bytes(olderSecret)] };
    expect(await verdict(options, await sign(bytes(secret)))).toBe("ann");
    expect(await verdict(options, await sign(bytes(olderSecret)))).toBe("ann");
    expect(await verdict(options, await sign(bytes("x".repeat(32))))).toBe(refused);
  });

  test("refuses `alg: none`, and any algorithm but the pinned one", async () => {
    const unsecured = new UnsecuredJWT({ sub: "ann" }).setExpirationTime("5m").encode();
    expect(await verdict({ secret }, unsecured)).toBe(refused);
    const longer = secret.repeat(2);
    const token = await sign(bytes(longer), { alg: "HS512" });
    expect(await verdict({ secret: longer }, token)).toBe(refused);
    expect(await verdict({ secret: longer, algorithms: ["HS512"] }, token)).toBe("ann");
  });

  test("refuses to be set up with what cannot be safe", async () => {
    const { publicKey } = await keyPair("a");
    const pem = await exportSPKI(publicKey);
    for (const options of [
      { secret: "short" },
      { secret: [] },
      { secret: pem },
      { secret, algorithms: ["none"] },
      { secret, algorithms: ["RS256"] },
      { secret, algorithms: [] },
    ]) {
      expect(() => verifyJwt(options)).toThrow(expect.objectContaining({ code: "INVALID_CONFIG" }));
    }
    expect(() => verifyJwt({ keys: { keys: [] }, algorithms: ["HS256"] })).toThrow(
      expect.objectContaining({ code: "INVALID_CONFIG" }),
    );
    expect(() => verifyJwt({} as VerifyJwtOptions)).toThrow(expect.objectContaining({ code: "INVALID_CONFIG" }));
  });

  test("finds the token where the app says it is", async () => {
    const verify = verifyJwt({ secret, token: (request) => new URL(request.url).searchParams.get("token") });
    expect(await verify(get(`/v1/stream?token=${await sign(bytes(secret))}`))).toMatchObject({ subject: "ann" });
    expect(await verify(get("/v1/stream"))).toBeNull();
  });
});

describe("verifyJwt with public keys", () => {
  test("verifies signatures of the set's keys, with and without a key id", async () => {
    const [one, two, other] = await Promise.all([keyPair("one"), keyPair("two"), keyPair("one")]);
    const keys = { keys: [one.jwk, two.jwk] };
    expect(await verdict({ keys }, await sign(two.privateKey, { alg: "ES256", kid: "two" }))).toBe("ann");
    expect(await verdict({ keys }, await sign(two.privateKey, { alg: "ES256" }))).toBe("ann");
    expect(await verdict({ keys }, await sign(other.privateKey, { alg: "ES256" }))).toBe(refused);
    expect(await verdict({ keys }, await sign(other.privateKey, { alg: "ES256", kid: "one" }))).toBe(refused);
    expect(await verdict({ keys }, await sign(two.privateKey, { alg: "ES256", kid: "three" }))).toBe(refused);
  });

  test("a public key is no secret: tokens signed with its text are refused", async () => {
    const { jwk, publicKey } = await keyPair("one");
    const keys = { keys: [jwk] };
    for (const text of [await exportSPKI(publicKey), JSON.stringify(jwk)]) {
      expect(await verdict({ keys }, await sign(bytes(text), { kid: "one" }))).toBe(refused);
    }
    const shared = { kty: "oct", k: Buffer.from(secret).toString("base64url"), kid: "shared", alg: "HS256" };
    expect(await verdict({ keys: { keys: [shared] } }, await sign(bytes(secret), { kid: "shared" }))).toBe(refused);
  });

  test("a key set is fetched from its address; one that cannot be fetched is 503, not 401", async () => {
    const { jwk, privateKey } = await keyPair("one");
    let status = 200;
    const { url, close } = await listen((_request, response) => {
      response
        .writeHead(status, { "content-type": "application/json" })
        .end(status === 200 ? JSON.stringify({ keys: [jwk] }) : "no");
    });
    const token = await sign(privateKey, { alg: "ES256", kid: "one" });
    const unknown = await sign(privateKey, { alg: "ES256", kid: "two" });
    expect(await verdict({ jwksUrl: url }, token)).toBe("ann");
    expect(await verdict({ jwksUrl: url }, unknown)).toBe(refused);
    status = 500;
    expect(await verdict({ jwksUrl: new URL(url) }, token)).toBe(unavailable);
    await close();
    expect(await verdict({ jwksUrl: url }, token)).toBe(unavailable);
  });
});

test("a handler answers a bad token with 401 and unreachable keys with 503", async () => {
  const { privateKey } = await keyPair("one");
  const token = await sign(privateKey, { alg: "ES256", kid: "one" });
  const statusWith = async (options: VerifyJwtOptions): Promise<unknown[]> => {
    const verify = verifyJwt(options);
    const handler = createSyncHandler({
      router: scriptedRouter({}, { needsUser: true }),
      procedures: "sync",
      onError: () => {},
      async createContext({ req }) {
        const verified = await verify(req);
        return verified === null ? {} : { user: verified.subject };
      },
    });
    const response = await handler(bearing(token));
    return [response.status, await codeOf(response)];
  };
  expect(await statusWith({ keys: { keys: [] } })).toEqual([401, "UNAUTHORIZED"]);
  expect(await statusWith({ jwksUrl: "http://127.0.0.1:1/keys" })).toEqual([503, "UNAVAILABLE"]);
});
