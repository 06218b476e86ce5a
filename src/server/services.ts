/**
 * The services behind one router: one for each database, made when it is first asked for, and the streams that a shutdown
 * must end.
 *
 * @module
 */

import { getTableName, type Table } from "drizzle-orm";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import { SyncError } from "../protocol/errors.ts";
import { frameStream, type FrameStream, startFlow } from "./frame-stream.ts";
import type { SyncService } from "./service.ts";

/** The services of one router. */
export interface Services {
  of(database: SyncDatabase): SyncService;
  /** Counts a stream of a service as open from its first reading to its end, so that a shutdown finds it. */
  whileStreaming<TFrame>(service: SyncService, stream: FrameStream<TFrame>): FrameStream<TFrame>;
}

/** Creates the list of services. */
export function createServices(options: {
  readonly make: (database: SyncDatabase) => SyncService;
  readonly shutdown: AbortSignal | undefined;
}): Services {
  const { make, shutdown } = options;
  const services = new WeakMap<SyncDatabase, SyncService>();
  const streaming = new Map<SyncService, number>();
  // One listener for all streams: a signal warns when it gets many.
  shutdown?.addEventListener("abort", () => {
    for (const service of streaming.keys()) service.close();
  });
  return {
    of(database) {
      let service = services.get(database);
      if (service === undefined) services.set(database, (service = make(database)));
      return service;
    },
    whileStreaming(service, stream) {
      let isOpen = false;
      const enter = (): void => {
        if (isOpen) return;
        isOpen = true;
        streaming.set(service, (streaming.get(service) ?? 0) + 1);
        if (shutdown?.aborted === true) service.close();
      };
      const leave = (): void => {
        if (!isOpen) return;
        isOpen = false;
        const left = (streaming.get(service) ?? 1) - 1;
        if (left > 0) streaming.set(service, left);
        else streaming.delete(service);
      };
      return frameStream((taker) => {
        const flow = stream[startFlow]({
          take: taker.take,
          over(error) {
            leave();
            taker.over(error);
          },
        });
        return {
          ask() {
            enter();
            flow.ask();
          },
          stop() {
            leave();
            flow.stop();
          },
        };
      });
    },
  };
}

/** The keys of the tables in `scopesDependOn`; throws `INVALID_CONFIG` for one whose commits are not noticed. */
export function tableKeys(database: SyncDatabase, tables: readonly Table[]): ReadonlySet<string> {
  const keys = tables.map((table) => {
    // By name: frameworks evaluate the schema's module once per bundle, so this may be another object for the same table.
    const name = getTableName(table);
    const synced = database.tables.find((each) => getTableName(each.table) === name);
    if (synced !== undefined) return synced.key;
    throw new SyncError({
      code: "INVALID_CONFIG",
      message: `Table \`${name}\` in \`scopesDependOn\` is not synced, so its commits are not noticed. Add it to \`defineSync\`, or call \`db.$sync.scopesChanged(subject)\` where it is written.`,
    });
  });
  return new Set(keys);
}
