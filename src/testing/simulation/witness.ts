/**
 * Watches the server's database from outside and remembers every committed state by its place in the log, together with
 * which transactions of which device that commit handled. From this the other oracles know what a device at a cursor
 * must hold, what must have left its queue, and who overwrote what.
 *
 * @module
 */

import { decodeCbor } from "../../protocol/cbor.ts";
import type { Outcome } from "../../protocol/outcome.ts";
import type { CrashDatabase } from "../crash-database.ts";
import type { Value } from "../../protocol/ids.ts";
import { observe } from "./observe.ts";
import { readState, type State } from "./state.ts";
import { Violation } from "./violation.ts";

/** One commit of the server's database. */
export interface Commit {
  readonly seq: number;
  readonly before: State;
  readonly after: State;
  /** Present when the commit handled transactions of a device: those above `from`, up to `to`. */
  readonly handled?: {
    readonly deviceId: string;
    readonly from: number;
    readonly to: number;
    /** What is stored of them; a transaction without one was applied as written. */
    readonly outcomes: ReadonlyMap<number, Outcome>;
  };
}

export interface Witness {
  /** Looks for a commit since it last looked; called after every statement that left no transaction open. */
  look(): void;
  /** Called with each commit. */
  onCommit: ((commit: Commit) => void) | undefined;
  readonly state: State;
  readonly head: number;
  /** The state at a place in the log. */
  stateAt(seq: number): State;
  /**
   * The last transaction of a device that was handled at a place in the log: at least and at most. A refusal leaves no
   * entry, so that a page up to the same place may have been computed before it or after it.
   */
  lastTxAt(deviceId: string, seq: number): readonly [atLeast: number, atMost: number];
  /** What became of a device's transaction; undefined when it was never handled. */
  fateOf(deviceId: string, number: number): "applied" | "merged" | "rejected" | undefined;
  /** The database was opened anew; what it holds must be what was seen last. */
  attach(database: CrashDatabase): void;
}

export function createWitness(first: CrashDatabase): Witness {
  let database = first;
  const states: { readonly seq: number; readonly state: State }[] = [];
  const handled = new Map<string, { readonly seq: number; readonly lastTx: number; readonly hasMoved: boolean }[]>();
  const fates = new Map<string, "applied" | Outcome["status"]>();
  const read = <T>(sql: string, ...params: Value[]): T[] => observe(database).all(sql, params) as unknown as T[];
  const readHead = (): number => Number(read<[number | null]>("SELECT max(seq) FROM _sync_log")[0]?.[0] ?? 0);
  const readDevices = (): Map<string, number> =>
    new Map(read<[string, number]>("SELECT device_id, last_tx FROM _sync_devices"));

  let head = readHead();
  let devices = readDevices();
  states.push({ seq: head, state: readState(database.raw) });

  const outcomesOf = (deviceId: string, from: number, to: number): Map<number, Outcome> =>
    new Map(
      read<[number, Uint8Array]>(
        "SELECT number, body FROM _sync_outcomes WHERE device_id = ? AND number > ? AND number <= ?",
        deviceId,
        from,
        to,
      ).map(([number, body]) => [number, decodeCbor(new Uint8Array(body)) as Outcome]),
    );

  const witness: Witness = {
    onCommit: undefined,
    get state() {
      return (states[states.length - 1] as { state: State }).state;
    },
    get head() {
      return head;
    },
    look() {
      const now = readHead();
      const nowDevices = readDevices();
      const moved = [...nowDevices].filter(([id, lastTx]) => lastTx !== (devices.get(id) ?? 0));
      if (now === head && moved.length === 0) return;
      if (moved.length > 1)
        throw new Violation("P10", "One database transaction moved the last transaction of two devices.");
      const before = witness.state;
      const after = now === head ? before : readState(database.raw);
      const hasMoved = now !== head;
      head = now;
      states.push({ seq: head, state: after });
      const [device] = moved;
      if (device === undefined) return witness.onCommit?.({ seq: head, before, after });
      const [deviceId, to] = device;
      const from = devices.get(deviceId) ?? 0;
      devices = nowDevices;
      const history = handled.get(deviceId) ?? [];
      history.push({ seq: head, lastTx: to, hasMoved });
      handled.set(deviceId, history);
      const outcomes = outcomesOf(deviceId, from, to);
      for (let number = from + 1; number <= to; number++)
        fates.set(`${deviceId} ${number}`, outcomes.get(number)?.status ?? "applied");
      if (to < from) throw new Violation("P3", `The last transaction of ${deviceId} went back from ${from} to ${to}.`);
      witness.onCommit?.({ seq: head, before, after, handled: { deviceId, from, to, outcomes } });
    },
    stateAt(seq) {
      for (let i = states.length - 1; i >= 0; i--) {
        const known = states[i] as { seq: number; state: State };
        if (known.seq > seq) continue;
        const between = read<[number]>(
          "SELECT count(*) FROM _sync_log WHERE t <> 0 AND seq > ? AND seq <= ?",
          known.seq,
          seq,
        );
        if ((between[0]?.[0] ?? 0) > 0) throw new Violation("U2", `A page ends at ${seq}, in the middle of a commit.`);
        return known.state;
      }
      throw new Violation("U2", `A page ends at ${seq}, where no commit was seen.`);
    },
    lastTxAt(deviceId, seq) {
      const before = (handled.get(deviceId) ?? []).filter((entry) => entry.seq <= seq);
      const atMost = before[before.length - 1]?.lastTx ?? 0;
      while (
        before.length > 0 &&
        before[before.length - 1]?.seq === seq &&
        before[before.length - 1]?.hasMoved === false
      )
        before.pop();
      return [before[before.length - 1]?.lastTx ?? 0, atMost];
    },
    fateOf: (deviceId, number) => fates.get(`${deviceId} ${number}`),
    attach(next) {
      database = next;
    },
  };
  return witness;
}
