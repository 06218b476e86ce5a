/**
 * The handshake: what both sides speak and know (rule V1), and what the agreement means for the base.
 *
 * @module
 */

import { closeStrangers, correctClock, lastTransaction, readClockOffset } from "../plugin/device-log.ts";
import type { KnownTables } from "../protocol/handshake.ts";
import { hashSchema } from "../protocol/hash.ts";
import { clockOffset } from "../protocol/hlc.ts";
import { protocolVersions } from "../protocol/version.ts";
import { requireCheckpoint } from "./checkpoint.ts";
import { deviceSchema } from "./device-schema.ts";
import { resetBase } from "./device-state.ts";
import type { ExchangeContext } from "./exchange.ts";
import type { MachineEvent } from "./machine.ts";
import { type Agreement, readWrittenSchemas, sentAs, type SentAs } from "./written-schemas.ts";

/** Rule V1, and what the agreement means for the base. */
export async function handshake(context: ExchangeContext, signal: AbortSignal): Promise<MachineEvent> {
  const { sync, local, session, transport, clock } = context;
  const schema = deviceSchema(sync);
  const { deviceId, others } = await local("read", function* () {
    return { deviceId: (yield* requireCheckpoint()).deviceId, others: yield* readWrittenSchemas(sync) };
  });
  const announce = async (hash: string, tables: KnownTables): Promise<Agreement> => {
    const request = { deviceId, protocol: protocolVersions, schema: { hash, tables }, time: clock.now() };
    return { tables, ...(await transport.handshake(request, { signal })) };
  };
  const answers: Agreement[] = [];
  for (const { known } of others) answers.push(await announce(hashSchema(known), known));
  // The present one comes last: it is what the server remembers of the device.
  const sentAt = sync.now();
  const answer = await announce(schema.hash, schema.known);
  const written = new Map<string, SentAs>();
  others.forEach((other, i) => written.set(other.hash, sentAs(other, answers[i] ?? answer, answer)));
  const reading = { sentAt, receivedAt: sync.now(), serverTime: answer.time };
  session.agreement = answer;
  session.agreed = hashSchema(answer.tables);
  session.written = written;
  session.maxRequestBytes = answer.limits.maxRequestBytes;
  session.sendsHeldList = false;
  const agreed = await local("write", function* () {
    yield* closeStrangers(sync);
    const offset = clockOffset(reading, yield* readClockOffset());
    if (offset !== undefined) yield* correctClock(offset, reading.receivedAt);
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
    // I3: a pull tells first where the server stands.
    hasQueue: !session.isBehind && agreed.last.number > session.uploaded.number,
    isEmpty: agreed.checkpoint.base !== "whole",
  };
}
