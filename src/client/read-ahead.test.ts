import { describe, expect, it, vi } from "vitest";
import { formatCursor, makeDeviceId, type Epoch } from "../protocol/ids.ts";
import type { Page, PullAnswer, PullRequest, RoundState } from "../protocol/pull.ts";
import { createReadAhead } from "./read-ahead.ts";

const cursor = formatCursor({ seq: 1, stamp: 1 });
const roundAt = (next: number): RoundState => ({
  phase: "log",
  scopes: ["everyone"],
  added: [],
  held: ["everyone"],
  fresh: false,
  s0: 9,
  head: cursor,
  next,
  baseSchema: "s",
});
const request: PullRequest = {
  deviceId: makeDeviceId(),
  held: "h",
  schema: "s",
  baseSchema: "s",
  ackedTx: 0,
  limit: 10,
  cursor,
};
const part = (next: number): Page => ({
  kind: "page",
  epoch: "e" as Epoch,
  from: cursor,
  round: roundAt(next),
  scopes: ["everyone"],
  schema: "s",
  changes: [],
});
const end: Page = {
  kind: "page",
  epoch: "e" as Epoch,
  from: cursor,
  to: cursor,
  scopes: ["everyone"],
  schema: "s",
  changes: [],
};

function scripted(...answers: (PullAnswer | Error)[]) {
  const asked: { readonly request: PullRequest; readonly signal: AbortSignal }[] = [];
  const pull = vi.fn((asking: PullRequest, options: { readonly signal: AbortSignal }) => {
    asked.push({ request: asking, signal: options.signal });
    const answer = answers.shift();
    return answer instanceof Error || answer === undefined
      ? Promise.reject(answer ?? new Error("Asked too often."))
      : Promise.resolve(answer);
  });
  return { asked, ahead: createReadAhead({ pull }) };
}
const { signal } = new AbortController();

describe("reading ahead (R1, A1)", () => {
  it("asks for the next page as soon as one has come, and uses the answer", async () => {
    const { asked, ahead } = scripted(part(2), part(3), end);
    expect(await ahead.pull(request, signal)).toEqual(part(2));
    expect(asked.map((each) => each.request.round?.next)).toEqual([undefined, 2]);
    expect(await ahead.pull({ ...request, round: roundAt(2) }, signal)).toEqual(part(3));
    expect(await ahead.pull({ ...request, round: roundAt(3) }, signal)).toEqual(end);
    // After the last page of a round nothing is asked for.
    expect(asked).toHaveLength(3);
  });

  it("hands a page over only when the next request was sent, and a last page at once", async () => {
    const calls: string[] = [];
    const answers = [part(2), end, end];
    const ahead = createReadAhead({
      pull: async () => {
        calls.push("pull");
        return answers.shift() ?? end;
      },
      flush: async () => {
        await Promise.resolve();
        calls.push("sent");
      },
    });
    await ahead.pull(request, signal);
    expect(calls).toEqual(["pull", "pull", "sent"]);
    await ahead.pull({ ...request, round: roundAt(2) }, signal);
    expect(calls).toEqual(["pull", "pull", "sent"]);
  });

  it("hands nothing over to who gave up while the next request was being sent", async () => {
    const taker = new AbortController();
    const ahead = createReadAhead({ pull: async () => part(2), flush: async () => taker.abort() });
    await expect(ahead.pull(request, taker.signal)).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("A1: drops what was asked for ahead when the engine asks for something else", async () => {
    const { asked, ahead } = scripted(part(2), part(3), end);
    await ahead.pull(request, signal);
    const other = { ...request, ackedTx: 4, round: roundAt(2) };
    expect(await ahead.pull(other, signal)).toEqual(end);
    expect(asked[1]?.signal.aborted).toBe(true);
    expect(asked[2]?.request).toEqual(other);
  });

  it("hands a failure to whoever takes it, and asks anew after that", async () => {
    const { ahead } = scripted(part(2), new Error("lost"), end);
    await ahead.pull(request, signal);
    const next = { ...request, round: roundAt(2) };
    await expect(ahead.pull(next, signal)).rejects.toThrow("lost");
    expect(await ahead.pull(next, signal)).toEqual(end);
  });

  it("stops what is under way when it is dropped, and when its taker gives up", async () => {
    const { asked, ahead } = scripted(part(2), part(3));
    await ahead.pull(request, signal);
    ahead.drop();
    expect(asked[1]?.signal.aborted).toBe(true);

    const again = scripted(part(2), part(3), part(4));
    await again.ahead.pull(request, signal);
    const taker = new AbortController();
    const taken = again.ahead.pull({ ...request, round: roundAt(2) }, taker.signal);
    taker.abort();
    await taken;
    expect(again.asked[1]?.signal.aborted).toBe(true);
    // An aborted taker wants nothing further.
    expect(again.asked).toHaveLength(2);
  });
});
