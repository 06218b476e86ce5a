/**
 * A vitest reporter that ends a run by saying what it did not run: tests that skipped themselves, and the checks that
 * are commands of their own. Silence about a skipped test would read as a pass.
 */
export default class SkippedReporter {
  onTestRunEnd(modules) {
    const skipped = modules.flatMap((module) =>
      [...module.children.allTests("skipped")].map((test) => `${module.relativeModuleId}: ${test.fullName}`),
    );
    const lines = [
      ...skipped.map((test) => `skipped: ${test}`),
      "not part of `npm test`: `npm run test:browser` (needs Chromium), `npm run simulate -- --runs N` (more runs).",
    ];
    console.log(lines.join("\n") + "\n");
  }
}
