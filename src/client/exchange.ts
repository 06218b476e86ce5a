/**
 * What the three requests (`handshake.ts`, `push.ts`, `pull.ts`) share. Each reads the local database in one transaction, waits
 * for the server, and takes the answer in with another; between the two anything may have happened, which is what rule A1 is
 * for. What comes back is what the state machine needs to hear; errors are thrown.
 *
 * @module
 */

import { closeStrangers } from "../plugin/device-log.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import { SyncError } from "../protocol/errors.ts";
import type { RandomBytes, TxRef } from "../protocol/ids.ts";
import type { PageResult } from "./apply.ts";
import { requireCheckpoint, type Checkpoint } from "./checkpoint.ts";
import type { Clock } from "./clock.ts";
import type { Holds } from "./holds.ts";
import { startAnew } from "./identity.ts";
import type { LocalDatabase } from "./local-database.ts";
import type { MachineEvent } from "./machine.ts";
import { takeStampsBack } from "./sent-stamps.ts";
import { forgetQueue, type Session } from "./session.ts";
import type { ReadAhead } from "./read-ahead.ts";
import type { Transport } from "./transport.ts";
import type { Verification } from "./verification.ts";

/** What the requests work with. */
export interface ExchangeContext {
  readonly sync: SyncDatabase;
  readonly transport: Transport;
  readonly readAhead: ReadAhead;
  readonly local: LocalDatabase;
  readonly session: Session;
  readonly holds: Holds;
  readonly verification: Verification;
  readonly clock: Clock;
  readonly random?: RandomBytes | undefined;
  /** Told after a page was applied or staged, and after a transaction left the queue. */
  readonly onApplied: (
    changed: Pick<PageResult & { readonly kind: "applied" }, "tables" | "applied" | "settled">,
    checkpoint: Checkpoint,
  ) => void;
  /** The number of the last transaction known to be handled. */
  readonly handled: () => number;
  /** How long handled transactions are kept, in milliseconds (rule I3). */
  readonly keepSentMs?: number | undefined;
  /** Told when there is something to be pushed again. */
  readonly onReturned: () => void;
  /** Told of what healed itself. */
  readonly onError: (error: SyncError) => void;
}

/** Rule I4: somebody else speaks under our name, unless it is we who gave numbers other stamps. */
export async function fork(context: ExchangeContext, lastTx?: TxRef): Promise<MachineEvent> {
  const { local, session, random } = context;
  const anew = await local("write", function* () {
    yield* closeStrangers(context.sync);
    if (lastTx && (yield* takeStampsBack(lastTx))) return undefined;
    return yield* startAnew(yield* requireCheckpoint(), random);
  });
  if (anew) forgetQueue(session, anew.handled);
  return { type: "renegotiate" };
}

/** What was agreed at the handshake; throws `UNAVAILABLE` before one. */
export function requireAgreement(session: Session): NonNullable<Session["agreement"]> {
  if (!session.agreement)
    throw new SyncError({ code: "UNAVAILABLE", message: "Nothing is agreed with the server yet." });
  return session.agreement;
}
