/**
 * Mutation testing of the pure core, by hand: which change of a rule would no test notice?
 *
 *     npm install --no-save @stryker-mutator/core@9.6.1 @stryker-mutator/vitest-runner@9.6.1
 *     TARGET=judge npx stryker run .ci/mutation/stryker.config.mjs
 *
 * 9.6.1 is the newest Stryker that runs on Node 20. One target at a time, with the tests of its folder and nothing
 * else, so that a run takes minutes: all of them through one file that imports them, since loading thirty files takes longer
 * than running what is in them. Work in a copy: the install changes `node_modules`.
 */
import { readdirSync, writeFileSync } from "node:fs";

/** All tests that stand directly in `folder`, without properties and those named: too slow to be run for each mutant. */
const testsIn = (folder, ...slow) =>
  readdirSync(folder)
    .filter((file) => /^[a-z-]+\.test\.ts$/.test(file) && !slow.includes(file.replace(".test.ts", "")))
    .map((file) => `${folder}/${file}`);
const server = (file) => `src/server/${file}`;
const serverTests = [...testsIn("src/server"), ...testsIn("src/testing/schema-versions")];
const clientTests = testsIn("src/client", "identity", "queue-list", "http-transport", "trpc-transport", "frame-reader");
const pullTests = ["resume-round", "round", "pull", "page-size"].map((name) => server(`${name}.test.ts`));

/** File to mutate, and the tests that are run against it. */
const targets = {
  conflict: ["src/protocol/conflict.ts", ["src/protocol/conflict.test.ts"]],
  state: ["src/client/state.ts", ["src/client/state.test.ts"]],
  net: [server("net.ts"), [server("net.test.ts")]],
  judge: [server("judge.ts"), [server("judge.test.ts")]],
  rights: [server("rights.ts"), [server("rights.test.ts")]],
  settle: [server("settle.ts"), serverTests],
  execute: [server("execute.ts"), serverTests],
  apply: [server("apply.ts"), serverTests],
  "apply-batch": [server("apply-batch.ts"), serverTests],
  "batch-draft": [server("batch-draft.ts"), serverTests],
  "check-result": [server("check-result.ts"), serverTests],
  follow: [server("follow.ts"), serverTests],
  push: [
    server("push.ts"),
    [
      ...["push", "poison", "authorize", "hostile", "apply-batch", "settle"].map((name) => server(`${name}.test.ts`)),
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
  "client-apply": ["src/client/apply.ts", clientTests],
  "base-images": ["src/client/base-images.ts", clientTests],
  "write-changes": ["src/client/write-changes.ts", clientTests],
  covered: ["src/client/covered.ts", clientTests],
  "leave-queue": ["src/client/leave-queue.ts", clientTests],
  identity: ["src/client/identity.ts", [...clientTests, "src/client/identity.test.ts"]],
};

const name = process.env.TARGET ?? "";
const target = targets[name];
if (target === undefined) throw new Error(`TARGET is one of ${Object.keys(targets).join(", ")}.`);
const [file, tests] = target;
// Stryker copies the folder after it has read this.
writeFileSync(
  new URL("all.generated.test.ts", import.meta.url),
  `import { describe } from "vitest";\n${tests.map((test) => `describe("${test}", async () => {\n  await import("../../${test}");\n});\n`).join("")}`,
);

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
