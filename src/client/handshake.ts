/**
 * The handshake: what both sides speak and know (rule V1), and what the agreement means for the base.
 *
 * @module
 */

import { closeStrangers, lastTransaction } from "../plugin/device-log.ts";
import { protocolVersions } from "../protocol/version.ts";
import { requireCheckpoint } from "./checkpoint.ts";
import { deviceSchema } from "./device-schema.ts";
import { resetBase } from "./device-state.ts";
import type { ExchangeContext } from "./exchange.ts";
import type { MachineEvent } from "./machine.ts";

/** Rule V1, and what the agreement means for the base. */
export async function handshake(context: ExchangeContext, signal: AbortSignal): Promise<MachineEvent> {
  const { sync, local, session, transport, clock } = context;
  const schema = deviceSchema(sync);
  const { deviceId } = await local("read", requireCheckpoint);
  const answer = await transport.handshake(
    { deviceId, protocol: protocolVersions, schema: { hash: schema.hash, tables: schema.known }, time: clock.now() },
    { signal },
  );
  session.agreement = answer;
  session.maxRequestBytes = answer.limits.maxRequestBytes;
  session.sendsHeldList = false;
  const agreed = await local("write", function* () {
    yield* closeStrangers(sync);
    let checkpoint = yield* requireCheckpoint();
    if (checkpoint.epoch !== undefined && checkpoint.epoch !== answer.epoch)
      checkpoint = yield* resetBase(checkpoint, answer.epoch);
    if (checkpoint.declaration !== undefined && checkpoint.declaration !== answer.declaration)
      checkpoint = yield* resetBase(checkpoint);
    return { checkpoint, last: yield* lastTransaction() };
  });
  if (session.uploaded.number < agreed.checkpoint.handled.number) session.uploaded = agreed.checkpoint.handled;
  return {
    type: "connected",
    hasQueue: agreed.last.number > session.uploaded.number,
    isEmpty: agreed.checkpoint.base !== "whole",
  };
}
