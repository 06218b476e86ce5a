/** The tests of one target of `stryker.config.mjs`. */
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: { include: (process.env.MUTATION_TESTS ?? "").split(","), testTimeout: 30_000 },
});
