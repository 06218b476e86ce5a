/**
 * Mutation testing of the pure core, by hand: which change of a rule would no test notice?
 *
 *     npm install --no-save @stryker-mutator/core@9.6.1 @stryker-mutator/vitest-runner@9.6.1
 *     TARGET=judge npx stryker run .ci/mutation/stryker.config.mjs
 *
 * 9.6.1 is the newest Stryker that runs on Node 20. One target at a time, with the tests that are about it and nothing
 * else, so that a run takes minutes. Work in a copy: the install changes `node_modules`.
 */
const server = (file) => `src/server/${file}`;
const pushTests = ["settle", "settle-edges", "apply", "conflict-edges", "check-result", "follow", "authorize"].map(
  (name) => server(`${name}.test.ts`),
);
const pullTests = ["resume-round", "round", "pull", "page-size"].map((name) => server(`${name}.test.ts`));
// Without the property test of the batch, which takes too long for each mutant.
const batchTests = ["apply-batch", "batch-draft", "push"].map((name) => server(`${name}.test.ts`));
const clientTests = ["apply", "rebase", "beside", "take-back"].map((name) => `src/client/${name}.test.ts`);

/** File to mutate, and the tests that are run against it. */
const targets = {
  conflict: ["src/protocol/conflict.ts", ["src/protocol/conflict.test.ts"]],
  state: ["src/client/state.ts", ["src/client/state.test.ts"]],
  net: [server("net.ts"), [server("net.test.ts")]],
  judge: [server("judge.ts"), [server("judge.test.ts")]],
  rights: [server("rights.ts"), [server("rights.test.ts")]],
  settle: [server("settle.ts"), pushTests],
  execute: [server("execute.ts"), [server("execute.test.ts"), server("assign.test.ts"), ...pushTests]],
  apply: [server("apply.ts"), pushTests],
  "apply-batch": [server("apply-batch.ts"), batchTests],
  "batch-draft": [server("batch-draft.ts"), batchTests],
  "check-result": [server("check-result.ts"), pushTests],
  follow: [server("follow.ts"), pushTests],
  push: [
    server("push.ts"),
    [
      ...["push", "poison", "authorize", "hostile", "apply-batch"].map((name) => server(`${name}.test.ts`)),
      "src/testing/schema-versions/tables.test.ts",
    ],
  ],
  pull: [
    server("pull.ts"),
    ["pull", "pull-positions", "outcomes", "checksums", "retention"].map((name) => server(`${name}.test.ts`)),
  ],
  round: [server("round.ts"), pullTests],
  stretch: [server("stretch.ts"), pullTests],
  rebase: ["src/client/rebase.ts", clientTests],
  "client-apply": [
    "src/client/apply.ts",
    [...["apply-edges", "write-changes"].map((name) => `src/client/${name}.test.ts`), ...clientTests],
  ],
  "base-images": ["src/client/base-images.ts", ["src/client/base-images.test.ts", ...clientTests]],
  "write-changes": [
    "src/client/write-changes.ts",
    [...["write-changes", "covered", "brought-rows"].map((name) => `src/client/${name}.test.ts`), ...clientTests],
  ],
  covered: ["src/client/covered.ts", ["src/client/covered.test.ts", ...clientTests]],
  "leave-queue": ["src/client/leave-queue.ts", ["src/client/leave-queue.test.ts", ...clientTests]],
  identity: ["src/client/identity.ts", ["src/client/identity.test.ts", ...clientTests]],
};

const name = process.env.TARGET ?? "";
const target = targets[name];
if (target === undefined) throw new Error(`TARGET is one of ${Object.keys(targets).join(", ")}.`);
const [file, tests] = target;
// Read by `vitest.config.mjs`, in another process.
process.env.MUTATION_TESTS = tests.join(",");

export default {
  testRunner: "vitest",
  plugins: ["@stryker-mutator/vitest-runner"],
  vitest: { configFile: ".ci/mutation/vitest.config.mjs", related: false },
  coverageAnalysis: "perTest",
  concurrency: 1,
  // A mutant that loops without an end fills the memory before its time is up.
  testRunnerNodeArgs: ["--max-old-space-size=600"],
  timeoutMS: 10_000,
  reporters: ["clear-text", "json"],
  clearTextReporter: { allowColor: false, logTests: false },
  jsonReporter: { fileName: `node_modules/.cache/mutation/${name}.json` },
  tempDirName: "node_modules/.cache/stryker",
  mutate: [file],
  // TypeScript 7 has no compiler API, which Stryker would use to rewrite the configuration.
  tsconfigFile: "none.json",
  disableTypeChecks: false,
  checkers: [],
  ignorePatterns: ["examples", "dist", "bench"],
};
