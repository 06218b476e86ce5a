/**
 * Watches the server's database from outside and remembers every committed state by its place in the log, together with
 * which transactions of which device that commit handled. From this the other oracles know what a device at a cursor
 * must hold, what must have left its queue, and who overwrote what.
 *
 * A restored backup takes the server back to an earlier place: what came after it is another history from then on, whose
 * states devices may still show.
 *
 * @module
 */

import { decodeCbor } from "../../protocol/cbor.ts";
import type { Outcome } from "../../protocol/outcome.ts";
import type { CrashDatabase } from "../crash-database.ts";
import type { Position, Value } from "../../protocol/ids.ts";
import { observe } from "./observe.ts";
import type { Pushes, SentTransaction } from "./pushes.ts";
import { readState, type State } from "./state.ts";
import { Violation } from "./violation.ts";

/** What a commit handled of one device. */
export interface Handled {
  readonly deviceId: string;
  readonly from: number;
  readonly to: number;
  /** The transactions above `from`, up to `to`. */
  readonly sent: readonly SentTransaction[];
  /** What is stored of them, by number; a transaction without one was applied as written. */
  readonly outcomes: ReadonlyMap<number, Outcome>;
}

/** One commit of the server's database. */
export interface Commit {
  readonly before: State;
  readonly after: State;
  /** Present when the commit handled transactions of a device. */
  readonly handled?: Handled;
}

/** What became of a transaction on the server. `empty`: there was nothing in it. */
export type Fate = "applied" | "merged" | "rejected" | "empty";

/** What the witness knew when a backup was made. */
export interface Testimony {
  readonly head: Position;
  readonly devices: ReadonlyMap<string, DeviceRecord>;
  readonly places: readonly Place[];
  readonly fates: ReadonlyMap<number, readonly Fate[]>;
}

interface DeviceRecord {
  readonly lastTx: number;
  readonly lastStamp: number;
}

/** A committed state, where the log stood, and the last transactions handled then. */
interface Place {
  readonly position: Position;
  readonly state: State;
  readonly devices: ReadonlyMap<string, DeviceRecord>;
}

export interface Witness {
  /** Looks for a commit since it last looked; called after every statement that left no transaction open. */
  look(): void;
  /** Called with each commit. */
  onCommit: ((commit: Commit) => void) | undefined;
  readonly state: State;
  readonly head: Position;
  /** Whether a place is one of the server's history as it is now. */
  isCurrent(position: Position): boolean;
  /** The state at a place in the log, of this history or of one that was lost. */
  stateAt(position: Position): State;
  /**
   * The last transaction of a device that was handled at a place in the log: at least and at most. A refusal leaves no
   * entry, so that a page up to the same place may have been computed before it or after it.
   */
  lastTxAt(deviceId: string, position: Position): readonly [atLeast: number, atMost: number];
  /** What became of a transaction, in the server's history as it is now, each time it was handled. */
  fatesOf(stamp: number): readonly Fate[];
  backup(): Testimony;
  /** The server was restored; device records may have been lost with it. */
  restore(testimony: Testimony): void;
  /** The database was opened anew; what it holds must be what was seen last. */
  attach(database: CrashDatabase): void;
}

export function createWitness(first: CrashDatabase, pushes: Pushes): Witness {
  let database = first;
  const read = <T>(sql: string, ...params: Value[]): T[] => observe(database).all(sql, params) as unknown as T[];
  const readHead = (): Position => {
    const [row] = read<[number, number]>("SELECT seq, stamp FROM _sync_log ORDER BY seq DESC LIMIT 1");
    return { seq: row?.[0] ?? 0, stamp: row?.[1] ?? 0 };
  };
  const readDevices = (): Map<string, DeviceRecord> =>
    new Map(
      read<[string, number, number]>("SELECT device_id, last_tx, last_stamp FROM _sync_devices").map(
        ([id, lastTx, lastStamp]) => [id, { lastTx, lastStamp }],
      ),
    );

  let seenVersion = -1;
  let head = readHead();
  let devices: ReadonlyMap<string, DeviceRecord> = readDevices();
  let fates = new Map<number, readonly Fate[]>();
  let places: Place[] = [{ position: head, state: readState(database), devices }];
  /** By seq and stamp, of all histories. */
  const everywhere = new Map<string, State>([[nameOf(head), readState(database)]]);

  const outcomesOf = (deviceId: string, from: number, to: number): Map<number, Outcome> =>
    new Map(
      read<[number, Uint8Array]>(
        "SELECT number, body FROM _sync_outcomes WHERE device_id = ? AND number > ? AND number <= ?",
        deviceId,
        from,
        to,
      ).map(([number, body]) => [number, decodeCbor(new Uint8Array(body)) as Outcome]),
    );

  /** The last place at or before a position, in the server's history as it is now. */
  const placeAt = ({ seq }: Position): Place => {
    for (let i = places.length - 1; i >= 0; i--) {
      const place = places[i] as Place;
      if (place.position.seq <= seq) return place;
    }
    throw new Violation("U2", `A page ends at ${seq}, where no commit was seen.`);
  };

  /** An entry that nobody stood on has none; who stands there first gives it one, and nothing else changes then. */
  const takeStamp = (now: Position): void => {
    if (now.seq !== head.seq || now.stamp === head.stamp) return;
    if (head.stamp !== 0) throw new Violation("I2", `The stamp of the entry at ${now.seq} changed.`);
    everywhere.set(nameOf(now), witness.state);
    places = places.map((place) => (nameOf(place.position) === nameOf(head) ? { ...place, position: now } : place));
    head = now;
  };

  const witness: Witness = {
    onCommit: undefined,
    get state() {
      return (places[places.length - 1] as Place).state;
    },
    get head() {
      return head;
    },
    look() {
      if (seenVersion === database.version) return;
      seenVersion = database.version;
      const now = readHead();
      takeStamp(now);
      const nowDevices = readDevices();
      const moved = [...nowDevices].filter(([id, { lastTx }]) => lastTx !== (devices.get(id)?.lastTx ?? 0));
      const hasMoved = now.seq !== head.seq;
      devices = nowDevices;
      if (!hasMoved && moved.length === 0) return;
      if (moved.length > 1)
        throw new Violation("P10", "One database transaction moved the last transaction of two devices.");
      const previous = places[places.length - 1] as Place;
      const before = previous.state;
      const after = hasMoved ? readState(database) : before;
      head = now;
      places.push({ position: head, state: after, devices: nowDevices });
      everywhere.set(nameOf(head), after);
      const [device] = moved;
      if (device === undefined) return witness.onCommit?.({ before, after });
      const [deviceId, { lastTx: to, lastStamp }] = device;
      const from = previous.devices.get(deviceId)?.lastTx ?? 0;
      if (to < from) throw new Violation("P3", `The last transaction of ${deviceId} went back from ${from} to ${to}.`);
      const outcomes = outcomesOf(deviceId, from, to);
      const sent = pushes.find(deviceId, from, to, lastStamp);
      if (sent === undefined)
        throw new Violation(
          "P3",
          `The server handled transactions ${from + 1} to ${to} of ${deviceId}, which nobody sent.`,
        );
      for (const { number, stamp, isEmpty } of sent) {
        const fate = outcomes.get(number)?.status ?? (isEmpty ? "empty" : "applied");
        fates.set(stamp, [...(fates.get(stamp) ?? []), fate]);
      }
      witness.onCommit?.({ before, after, handled: { deviceId, from, to, sent, outcomes } });
    },
    isCurrent: (position) =>
      nameOf(placeAt(position).position) === nameOf(position) || !everywhere.has(nameOf(position)),
    stateAt(position) {
      const exact = everywhere.get(nameOf(position));
      if (exact !== undefined) return exact;
      const place = placeAt(position);
      const between = read<[number]>(
        "SELECT count(*) FROM _sync_log WHERE t <> 0 AND seq > ? AND seq <= ?",
        place.position.seq,
        position.seq,
      );
      if ((between[0]?.[0] ?? 0) > 0)
        throw new Violation("U2", `A page ends at ${position.seq}, in the middle of a commit.`);
      return place.state;
    },
    lastTxAt(deviceId, { seq }) {
      const last = placeAt({ seq, stamp: 0 });
      const atMost = last.devices.get(deviceId)?.lastTx ?? 0;
      const earliest = places.find(({ position }) => position.seq === last.position.seq) ?? last;
      return [earliest.devices.get(deviceId)?.lastTx ?? 0, atMost];
    },
    fatesOf: (stamp) => fates.get(stamp) ?? [],
    backup: () => ({ head, devices, places: [...places], fates: new Map(fates) }),
    restore(testimony) {
      head = testimony.head;
      places = [...testimony.places];
      fates = new Map(testimony.fates);
      devices = readDevices();
      places.push({ position: head, state: witness.state, devices });
      seenVersion = database.version;
    },
    attach(next) {
      database = next;
      seenVersion = -1;
    },
  };
  return witness;
}

const nameOf = ({ seq, stamp }: Position): string => `${seq}:${stamp}`;
