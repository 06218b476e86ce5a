/**
 * The pull: asks for pages and takes them in, from a pull or a stream; also what the server answers instead of a page.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import { isSyncError, SyncError } from "../protocol/errors.ts";
import { hashScopes } from "../protocol/hash.ts";
import type { Page, PullAnswer, PullRequest } from "../protocol/pull.ts";
import { applyPage, basisOf, BrokenBase, type Basis, type PageResult } from "./apply.ts";
import { heldScopes, requireCheckpoint, roundOf, type Checkpoint } from "./checkpoint.ts";
import { deviceSchema } from "./device-schema.ts";
import { resetBase, restartRound } from "./device-state.ts";
import { type ExchangeContext, requireAgreement, fork } from "./exchange.ts";
import type { Wish } from "./holds.ts";
import type { MachineEvent } from "./machine.ts";
import { forgetRefusals, withRefusals } from "./refusals.ts";
import { noteFruitless, type Session } from "./session.ts";

/** A request for pages, and the state it is made from. */
export interface PullPlan {
  readonly request: PullRequest;
  readonly basis: Basis;
  readonly checkpoint: Checkpoint;
  readonly wish: Wish;
}

/** Reads what a pull, or a stream, is asked for with. */
export function* planPull(context: ExchangeContext): Core<PullPlan> {
  const { sync, session, holds, clock } = context;
  const schema = deviceSchema(sync);
  const checkpoint = yield* requireCheckpoint();
  const { deviceId, epoch, cursor, handled, baseSchema } = checkpoint;
  const held = heldScopes(checkpoint);
  const round = roundOf(checkpoint);
  const wish = holds.wish(held, checkpoint.base !== "whole" && cursor === undefined, clock.now());
  const request: PullRequest = {
    deviceId,
    ...(epoch === undefined ? {} : { epoch }),
    ...(cursor === undefined ? {} : { cursor }),
    // Rule U4: a hash says enough only while the target stays what is held.
    held:
      session.sendsHeldList || (wish.wanted && JSON.stringify(wish.wanted) !== checkpoint.held)
        ? held
        : hashScopes(held),
    ...(wish.wanted === undefined ? {} : { wanted: wish.wanted }),
    schema: schema.hash,
    baseSchema: baseSchema ?? schema.hash,
    ackedTx: handled.number,
    limit: Math.max(1, Math.min(session.pageRows, session.agreement?.limits.maxPageRows ?? session.pageRows)),
    ...(round === undefined ? {} : { round }),
  };
  return { request, basis: basisOf(checkpoint, schema.hash), checkpoint, wish };
}

/** One pull. */
export async function pull(context: ExchangeContext, signal: AbortSignal): Promise<MachineEvent> {
  const { local, session, transport, holds } = context;
  requireAgreement(session);
  const plan = await local("read", () => planPull(context));
  let answer: PullAnswer;
  try {
    answer = await transport.pull(plan.request, { signal });
  } catch (error) {
    if (isSyncError(error, "TOO_LARGE")) session.pageRows = Math.max(1, Math.floor(session.pageRows / 2));
    throw error;
  }
  if (answer.kind === "page") {
    const event = await takePage(context, answer, plan.basis);
    if (event.type !== "pulled" || event.more || answer.to === undefined) return event;
    session.sendsHeldList = false;
    // U3: a page may stop short of what was pushed when its outcomes are many; the next one brings the others.
    const covered = answer.lastTx?.number ?? 0;
    const stoppedShort = covered > plan.checkpoint.handled.number && covered < session.uploaded.number;
    return { ...event, more: stoppedShort || holds.granted(plan.wish, answer.scopes) };
  }
  return await takeSignal(context, answer, plan);
}

/** Takes a page in, from a pull or a stream. */
export async function takePage(context: ExchangeContext, page: Page, basis: Basis): Promise<MachineEvent> {
  const { sync, local, session, clock, onError } = context;
  const { declaration } = requireAgreement(session);
  let result: PageResult & { readonly checkpoint?: Checkpoint };
  try {
    result = await local("apply", function* () {
      const applied = yield* applyPage(sync, yield* withRefusals(page), basis, { declaration, nowMs: clock.now() });
      if (applied.kind === "applied") yield* forgetRefusals(applied.settled);
      return { ...applied, checkpoint: yield* requireCheckpoint() };
    });
  } catch (error) {
    if (!(error instanceof BrokenBase)) throw error;
    const broken = brokenBase(error, page.from === undefined);
    if (broken.code !== "CHECKSUM_MISMATCH") throw broken;
    onError(broken);
    await local("write", function* () {
      return yield* resetBase(yield* requireCheckpoint());
    });
    return { type: "pulled", more: true, isEmpty: false };
  }
  const { checkpoint } = result;
  const isEmpty = checkpoint?.base !== "whole";
  switch (result.kind) {
    case "forked":
      return await fork(context);
    case "foreign-epoch":
      return { type: "renegotiate" };
    case "stale":
      noteFruitless(session, "pull");
      return { type: "pulled", more: true, isEmpty, isFruitless: true };
    case "staged":
    case "applied":
      session.fruitless = 0;
      noteProgress(session, page);
      if (checkpoint)
        context.onApplied(
          { tables: result.tables, applied: result.applied, settled: result.kind === "applied" ? result.settled : [] },
          checkpoint,
        );
      return { type: "pulled", more: result.kind === "staged", isEmpty };
  }
}

async function takeSignal(
  context: ExchangeContext,
  answer: Exclude<PullAnswer, Page>,
  plan: PullPlan,
): Promise<MachineEvent> {
  const { local, session } = context;
  switch (answer.kind) {
    case "need-schema":
      return { type: "renegotiate" };
    case "need-held":
      noteFruitless(session, "held scopes");
      session.sendsHeldList = true;
      break;
    case "restart":
      noteFruitless(session, "restart");
      await ifUnchanged(context, plan.basis, restartRound);
      break;
    case "reset":
      noteFruitless(session, "reset");
      context.onError(
        new SyncError({
          code: answer.reason,
          message: "The server asks the device to take a fresh snapshot. Nothing that was written here is lost.",
        }),
      );
      await ifUnchanged(context, plan.basis, (checkpoint) => resetBase(checkpoint, answer.epoch));
      break;
  }
  const { base } = await local("read", requireCheckpoint);
  return { type: "pulled", more: true, isEmpty: base !== "whole", isFruitless: true };
}

/** Rule A1, for answers that carry no page. */
async function ifUnchanged(
  context: ExchangeContext,
  basis: Basis,
  change: (checkpoint: Checkpoint) => Core<Checkpoint>,
): Promise<void> {
  await context.local("write", function* () {
    const checkpoint = yield* requireCheckpoint();
    const { deviceId, cursor, round } = checkpoint;
    if (deviceId === basis.deviceId && cursor === basis.request?.cursor && round === basis.request?.round)
      yield* change(checkpoint);
  });
}

function noteProgress(session: Session, page: Page): void {
  for (const group of page.changes) session.received += group.values[0]?.length ?? 0;
  session.remaining = page.remaining;
  if (page.to === undefined) return;
  session.received = 0;
  session.remaining = undefined;
}

function brokenBase(cause: BrokenBase, isFresh: boolean): SyncError {
  return isFresh
    ? new SyncError({
        code: "INVALID_MESSAGE",
        message: "The server's snapshot has rows without the parents that they take their scopes from.",
        cause,
      })
    : new SyncError({
        code: "CHECKSUM_MISMATCH",
        message:
          "The rows on this device do not fit together; a fresh snapshot is taken. Nothing that was written here is lost.",
        cause,
      });
}
