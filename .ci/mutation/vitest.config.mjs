/** The tests of one target, gathered by `stryker.config.mjs`. */
import { defineConfig } from "vitest/config";

export default defineConfig({ test: { include: [".ci/mutation/all.generated.test.ts"], testTimeout: 30_000 } });
