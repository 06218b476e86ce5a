/**
 * Calls the procedures that `createSyncRouter` built, on the app's own router: its middlewares and context apply, and
 * the input is handed over raw, to be read only when a middleware has let the caller through.
 *
 * @module
 */

import { callTRPCProcedure, type AnyTRPCRouter } from "@trpc/server";
import { SyncError } from "../../protocol/errors.ts";

const procedureTypes = {
  handshake: "mutation",
  pull: "mutation",
  push: "mutation",
  live: "subscription",
  stats: "query",
} as const;
export type ProcedureName = keyof typeof procedureTypes;

export interface ProcedureCall {
  readonly ctx: unknown;
  /** Reads the input; called at most once by us, by tRPC as often as it likes. */
  readonly input: () => Promise<unknown>;
  readonly signal: AbortSignal;
}

export interface Procedures {
  readonly call: (name: ProcedureName, call: ProcedureCall) => Promise<unknown>;
  readonly typeOf: (name: ProcedureName) => (typeof procedureTypes)[ProcedureName];
  readonly pathOf: (name: ProcedureName) => string;
}

/** Finds the procedures, and says at once where there are none. */
export function createProcedures(router: AnyTRPCRouter, prefix: string): Procedures {
  const pathOf = (name: ProcedureName): string => (prefix === "" ? name : `${prefix}.${name}`);
  const isLazy = Object.keys(router._def.lazy).length > 0;
  if (!isLazy && router._def.procedures[pathOf("pull")] === undefined) {
    const message = `The router has no procedure \`${pathOf("pull")}\`. Set \`procedures\` to where \`createSyncRouter\` is.`;
    throw new SyncError({ code: "INVALID_CONFIG", message });
  }
  return {
    pathOf,
    typeOf: (name) => procedureTypes[name],
    call(name, { ctx, input, signal }) {
      return callTRPCProcedure({
        router,
        path: pathOf(name),
        type: procedureTypes[name],
        ctx,
        getRawInput: input,
        signal,
        batchIndex: 0,
      });
    },
  };
}
