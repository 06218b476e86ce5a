// Look at: the session is a signed cookie, checked here. Sync has no accounts of its own; it asks the app who is calling.
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { eq } from "drizzle-orm";
import { jwtVerify, SignJWT } from "jose";
import { users } from "@/shared/schema";
import { databasePath, db } from "./db";

export const sessionCookie = "session";
const lifetime = 30 * 24 * 60 * 60;

/** From the environment, or made once and kept beside the database. */
function loadSecret(): Uint8Array {
  const given = process.env["AUTH_SECRET"];
  if (given) return new TextEncoder().encode(given);
  const file = join(dirname(databasePath), "auth-secret");
  try {
    // `wx` fails when the file exists: of several processes that start at once, one writes and all read.
    writeFileSync(file, randomBytes(32).toString("hex"), { flag: "wx", mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  return new TextEncoder().encode(readFileSync(file, "utf8"));
}

let secret: Uint8Array | undefined;
const key = () => (secret ??= loadSecret());

export async function sealSession(userId: string) {
  const value = await new SignJWT()
    .setProtectedHeader({ alg: "HS256" })
    .setSubject(userId)
    .setIssuedAt()
    .setExpirationTime(`${lifetime}s`)
    .sign(key());
  const secure = process.env["COOKIE_SECURE"] === "1";
  return { name: sessionCookie, value, httpOnly: true, sameSite: "lax", secure, path: "/", maxAge: lifetime } as const;
}

/** The person whom a session names, or null for a missing, forged or expired one. */
export async function personOf(token: string | undefined) {
  if (!token) return null;
  const session = await jwtVerify(token, key(), { algorithms: ["HS256"] }).catch(() => null);
  const id = session?.payload.sub;
  if (!id) return null;
  return (
    db.select({ id: users.id, name: users.name, hue: users.hue }).from(users).where(eq(users.id, id)).get() ?? null
  );
}

/** The same for a plain request, as tRPC and the sync handler see it. */
export function personOfRequest(request: Request) {
  const cookies = request.headers.get("cookie") ?? "";
  const pair = cookies.split(/;\s*/).find((text) => text.startsWith(`${sessionCookie}=`));
  return personOf(pair?.slice(sessionCookie.length + 1));
}
