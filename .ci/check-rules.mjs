/**
 * Says which test proves what, and fails where none does. Four lists are checked: the rules of `docs/protocol.md`, the
 * cells of the state machine's table (each status with each event), the error codes and the rejection codes.
 *
 * A rule is proved by a test whose title begins with it (`test("P4, P6: …")`), or by a case of a conformance suite. A cell
 * is proved by a test of that name, as vitest lists them. A code is proved where an assertion expects it; a code that is
 * merely thrown by a fake, or listed, is not.
 *
 * `--list` prints what proves each of them.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseAst } from "vitest/node";
import "./typescript.mjs";

const root = fileURLToPath(new URL("../", import.meta.url));

/** Rules that no test proves yet, and why that is right. */
const excused = new Map([
  ["M1", "is about several server processes on Postgres, which is not supported yet"],
  ["M2", "is about snapshots on Postgres, which is not supported yet"],
]);

/** Tests of how codes are listed and how they travel, which prove nothing about when they occur. */
const isAboutCodes = (file) => /^src\/protocol\/(?:errors|parse|page-codec|marked-message)\.test\.ts$/.test(file);

/** Calls whose arguments are what a test expects, and tables of such expectations. */
const assertions =
  /^(?:to[A-Z]\w*|objectContaining|arrayContaining|isSyncError|rejectsWith|equal|deepEqual|rejects|throws|each)$/;

const rulesAtStart = /^([A-Z]\d+(?:(?:, | and )[A-Z]\d+)*): /;

const list = process.argv.includes("--list");

// ---- what there is to prove ----

function rulesOf(page) {
  return [...page.matchAll(/^- \*\*([A-Z]\d+)\*\* /gm)].map(([, rule]) => rule);
}

async function statesAndEvents() {
  const { syncStatuses } = await import("../src/client/machine.ts");
  // The row for "nothing is under way" has a cell for every event, or it does not compile.
  const events = [];
  walk(parse("src/client/state.ts"), (node) => {
    if (node.type !== "VariableDeclarator" || node.id.name !== "atRest") return;
    for (const { key } of node.init.properties) events.push(key.name ?? key.value);
  });
  if (events.length === 0) throw new Error("`src/client/state.ts` has no row `atRest` that names the events.");
  return syncStatuses.flatMap((status) => events.map((event) => `${status} × ${event}`));
}

// ---- what the tests say ----

function parse(file) {
  const lang = file.endsWith("x") ? "tsx" : "ts";
  return parseAst(readFileSync(join(root, file), "utf8"), { lang });
}

/** Visits every node with its ancestors, the nearest last. */
function walk(node, visit, ancestors = []) {
  visit(node, ancestors);
  ancestors.push(node);
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (child !== null && typeof child === "object" && typeof child.type === "string") walk(child, visit, ancestors);
    }
  }
  ancestors.pop();
}

/** The text of a string or template; what is put into a template is left out. */
function textOf(node) {
  if (node?.type === "Literal" && typeof node.value === "string") return node.value;
  if (node?.type === "TemplateLiteral") return node.quasis.map((part) => part.value.cooked).join("…");
  return undefined;
}

/** `test` of `test(…)`, `test.each(…)(…)` and `` test.each`…`(…) ``. */
function baseName(callee) {
  switch (callee.type) {
    case "Identifier":
      return callee.name;
    case "MemberExpression":
      return baseName(callee.object);
    case "CallExpression":
      return baseName(callee.callee);
    case "TaggedTemplateExpression":
      return baseName(callee.tag);
    default:
      return undefined;
  }
}

const lastName = (callee) => (callee.type === "MemberExpression" ? callee.property.name : callee.name);

/** Whether what stands here is what an assertion expects, rather than something that is merely made. */
function isExpected(ancestors) {
  for (const node of ancestors.toReversed()) {
    if (node.type === "NewExpression" || node.type.includes("Function") || node.type.endsWith("Statement"))
      return false;
    if (node.type === "CallExpression" && assertions.test(lastName(node.callee) ?? "")) return true;
  }
  return false;
}

function titlesIn(file, ast) {
  const titles = [];
  walk(ast, (node) => {
    if (node.type === "CallExpression" && /^(?:test|it|describe)$/.test(baseName(node.callee) ?? "")) {
      titles.push(textOf(node.arguments[0]));
    }
    if (file.includes("conformance") && node.type === "Property" && node.key.name === "name") {
      titles.push(textOf(node.value));
    }
  });
  return titles.filter((title) => title !== undefined);
}

function testFiles() {
  return readdirSync(join(root, "src"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter((file) => /\.test\.tsx?$|conformance\b.*\.ts$/.test(file))
    .toSorted();
}

function namesOfTests(file) {
  const folder = mkdtempSync(join(tmpdir(), "drizzle-sync-rules-"));
  try {
    const out = join(folder, "tests.json");
    const vitest = join(root, "node_modules/vitest/vitest.mjs");
    const listed = spawnSync(process.execPath, [vitest, "list", file, `--json=${out}`], {
      cwd: root,
      encoding: "utf8",
    });
    if (listed.status !== 0) throw new Error(`vitest could not list ${file}: ${listed.stderr || listed.stdout}`);
    return JSON.parse(readFileSync(out, "utf8")).map(({ name }) => name);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

// ---- the check ----

const rules = rulesOf(readFileSync(join(root, "docs/protocol.md"), "utf8"));
const cells = await statesAndEvents();
const { syncErrorCodes } = await import("../src/protocol/errors.ts");
const { rejectionCodes } = await import("../src/protocol/outcome.ts");
const codes = [...Object.keys(syncErrorCodes), ...rejectionCodes];

const groups = {
  rule: rules,
  cell: cells,
  "error code": Object.keys(syncErrorCodes),
  "rejection code": rejectionCodes,
};
/** @type {Map<string, string[]>} */
const provers = new Map([...rules, ...cells, ...codes].map((name) => [name, []]));
const mistakes = [];

for (const file of testFiles()) {
  const ast = parse(file);
  for (const title of titlesIn(file, ast)) {
    const named = rulesAtStart.exec(title)?.[1]?.split(/, | and /) ?? [];
    for (const rule of named) {
      if (provers.has(rule)) provers.get(rule).push(`${file}: ${title}`);
      else mistakes.push(`${file} names a rule ${rule}, which docs/protocol.md does not have: "${title}"`);
    }
  }
  if (isAboutCodes(file)) continue;
  walk(ast, (node, ancestors) => {
    const named = textOf(node)?.match(/\b[A-Z]+(?:_[A-Z]+)*\b/g) ?? [];
    for (const code of named) if (codes.includes(code) && isExpected(ancestors)) provers.get(code).push(file);
  });
}

const table = "the transition table > ";
for (const name of namesOfTests("src/client/state.test.ts")) {
  if (name.startsWith(table)) provers.get(name.slice(table.length))?.push("src/client/state.test.ts");
}

if (list) {
  for (const [name, proofs] of provers) {
    if (cells.includes(name)) continue;
    console.log(name);
    for (const proof of new Set(proofs)) console.log(`    ${proof}`);
  }
}
for (const [group, names] of Object.entries(groups)) {
  for (const name of names) {
    const isProved = provers.get(name).length > 0;
    if (!isProved && !excused.has(name)) mistakes.push(`no test proves the ${group} ${name}`);
    if (isProved && excused.has(name))
      mistakes.push(`the ${group} ${name} is excused, and proved: take it off the list`);
  }
}
if (rules.length === 0) mistakes.push("docs/protocol.md has no rules, or they are written in another way");
for (const mistake of mistakes) console.error(mistake);
for (const [name, reason] of excused) console.log(`excused: ${name} ${reason}`);
console.log(
  `${rules.length - excused.size} rules, ${cells.length} cells, ${codes.length} codes; ` +
    (mistakes.length === 0 ? "each is proved by a test" : `${mistakes.length} mistakes`),
);
process.exitCode = mistakes.length === 0 ? 0 : 1;
