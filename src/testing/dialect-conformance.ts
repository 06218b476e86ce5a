/**
 * What every dialect's connection must do, as cases to run over each implementation: values, transactions, several
 * connections, capture, installation. A case gets a fresh database with the schema of `capture-fixture.ts`.
 *
 * @module
 */

import { captureCases } from "./dialect-conformance/capture.ts";
import type { DialectCase } from "./dialect-conformance/dialect.ts";
import { installationCases } from "./dialect-conformance/installation.ts";
import { sharingCases } from "./dialect-conformance/sharing.ts";
import { transactionCases } from "./dialect-conformance/transactions.ts";
import { valueCases } from "./dialect-conformance/values.ts";

export type { AppDoor, DialectCase, DialectLimit, OpenDialect, OpenedDialect } from "./dialect-conformance/dialect.ts";

export const dialectConformance: readonly DialectCase[] = [
  ...valueCases,
  ...transactionCases,
  ...sharingCases,
  ...captureCases,
  ...installationCases,
];
