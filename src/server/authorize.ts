/**
 * The app's `authorize`: what it is shown of a device's transaction, its operations with values as Drizzle types them, and
 * what its answers mean. It is asked outside of any database transaction, so a row that a resolver would bring back is
 * asked about in a second question, as the insert that it is.
 *
 * @module
 */

import { bounds } from "../protocol/bounds.ts";
import { isSyncError, SyncError } from "../protocol/errors.ts";
import { rejectionCodes } from "../protocol/outcome.ts";
import type { OperationKind, PushTransaction } from "../protocol/push.ts";
import { type AppRow, toAppRow } from "./column-values.ts";
import type { Refusal, RowOperation } from "./operations.ts";
import type { GroupResult, Question } from "./push.ts";
import type { Revival } from "./revivals.ts";

/** One operation, as an app reads it. */
export interface AuthorizeOperation {
  /** The table's key in the schema. */
  readonly table: string;
  readonly kind: OperationKind;
  /** The primary key's columns. */
  readonly key: AppRow;
  /** The columns that are written; empty for a delete. */
  readonly values: AppRow;
}

/** A transaction of a device, before it is applied. */
export interface AuthorizeTransaction {
  readonly number: number;
  readonly operations: readonly AuthorizeOperation[];
}

/** Asks the app about one transaction; a refusal is for good, a throw is transient. */
export type Authorize = (transaction: AuthorizeTransaction) => Promise<Refusal | undefined>;

/** What the app said about a push. */
export interface Authorization {
  /** Transactions that it refused, by number. */
  readonly refusals: ReadonlyMap<number, Refusal>;
  /** Rows that it allows to come back, by transaction; absent when there is no `authorize`. */
  readonly revivals?: ReadonlyMap<number, readonly Revival[]>;
  /** The transactions before the first of which it could not tell, and why it could not. */
  readonly allowed: readonly PushTransaction[];
  readonly failure?: unknown;
}

const maxQuestions = 5;

/**
 * Runs a push with the app's word on each of its transactions. `run` is called again when an answer leaves a question;
 * what was handled is skipped then.
 */
export async function withAuthorization<T extends GroupResult>(
  authorize: Authorize | undefined,
  txs: readonly PushTransaction[],
  describeTx: (tx: PushTransaction) => AuthorizeTransaction | undefined,
  onError: (error: unknown) => void,
  run: (said: Authorization) => Promise<T>,
): Promise<{ readonly result: T; readonly failure?: unknown }> {
  const refusals = new Map<number, Refusal>();
  if (authorize === undefined) return { result: await run({ refusals, allowed: txs }) };

  const revivals = new Map<number, readonly Revival[]>();
  const ask = async (described: AuthorizeTransaction): Promise<{ readonly failure: unknown } | undefined> => {
    try {
      const refusal = await authorize(described);
      if (refusal !== undefined) refusals.set(described.number, checkRefusal(refusal));
      return undefined;
    } catch (error) {
      if (isSyncError(error, "INVALID_CONFIG")) onError(error);
      return {
        failure: isSyncError(error)
          ? error
          : unavailable("`authorize` failed. The transaction is tried again.", described.number, error),
      };
    }
  };
  let failed: { readonly failure: unknown } | undefined;
  let allowed = txs;
  for (let i = 0; i < txs.length && failed === undefined; i++) {
    const described = describeTx(txs[i] as PushTransaction);
    failed = described === undefined ? undefined : await ask(described);
    if (failed !== undefined) allowed = txs.slice(0, i);
  }

  let last: Question | undefined;
  for (let asked = 0; ;) {
    const result = await run({ refusals, revivals, allowed });
    const question = result.end === "authorize" ? result.ask : undefined;
    if (question === undefined) return { result, ...failed };
    asked = question.tx.number === last?.tx.number ? asked + 1 : 0;
    last = question;
    if (asked >= maxQuestions)
      return {
        result,
        failure: unavailable(
          "Rows change faster than `authorize` can be asked about them. Try again.",
          question.tx.number,
        ),
      };
    const failure = await ask(describeTransaction(question.tx, question.operations));
    if (failure !== undefined) return { result, ...failure };
    revivals.set(question.tx.number, question.revivals);
  }
}

/** What an app answers must be something that a device can read, or its outcome would stop every page of that device. */
function checkRefusal({ code, message, ...rest }: Refusal): Refusal {
  if (!rejectionCodes.includes(code) || typeof message !== "string") {
    throw new SyncError({
      code: "INVALID_CONFIG",
      message: `\`authorize\` must answer \`{ reject, message? }\`, with a text and with one of the codes ${rejectionCodes.map((known) => `\`${known}\``).join(", ")}.`,
    });
  }
  return { code, message: message.slice(0, bounds.message), ...rest };
}

function unavailable(message: string, transaction: number, cause?: unknown): SyncError<"UNAVAILABLE"> {
  return new SyncError({
    code: "UNAVAILABLE",
    message,
    details: { transaction },
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Describes a transaction to the app. */
export function describeTransaction(tx: PushTransaction, operations: readonly RowOperation[]): AuthorizeTransaction {
  return {
    number: tx.number,
    operations: operations.map(({ table, kind, key, columns, values }) => ({
      table: table.key,
      kind,
      key: toAppRow(table.keyColumns, key),
      values: toAppRow(columns, values),
    })),
  };
}
