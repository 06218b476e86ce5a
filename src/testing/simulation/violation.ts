/**
 * What the simulation throws when the library broke a promise.
 *
 * @module
 */

/** A broken promise of the protocol, with what was seen. */
export class Violation extends Error {
  /** A short name by which failures of one kind are grouped. */
  readonly oracle: string;

  constructor(oracle: string, message: string) {
    super(`${oracle}: ${message}`);
    this.name = "Violation";
    this.oracle = oracle;
  }
}
