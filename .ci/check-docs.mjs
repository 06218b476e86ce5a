/**
 * Compiles every `ts` and `tsx` block of the README, of `docs/` and of TSDoc comments, so that no example rots.
 *
 * A block whose first line is a comment that names a file (`// sync.ts`) becomes that file, beside the other named blocks
 * of the same document and the files that `.ci/docs/` holds for it: they import one another. Any other block is a module
 * of its own, and may use what `.ci/docs/globals.d.ts` declares, as prose does ("your `db`").
 */
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));
const out = join(root, "node_modules/.cache/drizzle-sync-docs");

function filesUnder(folder, pattern) {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && pattern.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
}

/** The blocks of a text with the line they begin at. `prefix` is what stands before each line (TSDoc's star). */
function* blocksOf(text, prefix) {
  const fence = new RegExp(`^${prefix}\`\`\`(tsx?)\\s*$`);
  const end = new RegExp(`^${prefix}\`\`\`\\s*$`);
  const strip = new RegExp(`^${prefix}`);
  let block;
  for (const [index, line] of text.split("\n").entries()) {
    if (block) {
      if (end.test(line)) {
        yield block;
        block = undefined;
      } else block.lines.push(line.replace(strip, ""));
      continue;
    }
    const found = fence.exec(line);
    if (found) block = { extension: found[1], line: index + 1, lines: [] };
  }
  if (block) throw new Error(`A code block that begins at line ${block.line} does not end.`);
}

rmSync(out, { recursive: true, force: true });
const origins = new Map();
const documents = [
  ...["README.md", ...filesUnder("docs", /\.md$/)].map((file) => ({ file, prefix: "" })),
  ...filesUnder("src", /\.tsx?$/)
    .filter((file) => !/\.test(-d)?\.tsx?$/.test(file))
    .map((file) => ({ file, prefix: "\\s*\\* ?" })),
];
for (const { file, prefix } of documents) {
  const text = readFileSync(join(root, file), "utf8");
  if (!text.includes("```ts")) continue;
  const beside = join(root, ".ci/docs", file);
  if (existsSync(beside)) cpSync(beside, join(out, file.replaceAll("/", "__")), { recursive: true });
  for (const block of blocksOf(text, prefix)) {
    const named = /^\/\/ ([\w./[\]-]+\.tsx?)(?:$|[:, ])/.exec(block.lines[0] ?? "");
    const name = named ? named[1] : `block-${block.line}.${block.extension}`;
    const target = join(out, file.replaceAll("/", "__"), name);
    mkdirSync(dirname(target), { recursive: true });
    // `export {}` keeps an unnamed block a module, so that its names stay its own.
    writeFileSync(target, `${block.lines.join("\n")}\n${named ? "" : "export {};\n"}`, { flag: "wx" });
    origins.set(relative(out, target), { file, line: block.line });
  }
}

const base = JSON.parse(readFileSync(join(root, "tsconfig.json"), "utf8"));
const paths = Object.fromEntries(
  Object.entries(base.compilerOptions.paths).map(([name, targets]) => [
    name,
    targets.map((target) => relative(out, join(root, target))),
  ]),
);
writeFileSync(
  join(out, "tsconfig.json"),
  JSON.stringify({
    extends: relative(out, join(root, "tsconfig.json")),
    compilerOptions: { module: "preserve", moduleResolution: "bundler", paths, rootDir: relative(out, root) },
    include: ["**/*.ts", "**/*.tsx"],
    files: [relative(out, join(root, ".ci/docs/globals.d.ts"))],
  }),
);
const { status, stdout } = spawnSync(
  join(root, "node_modules/.bin/tsc"),
  ["-p", out, "--noEmit", "--pretty", "false"],
  {
    cwd: out,
    encoding: "utf8",
  },
);
for (const line of stdout.split("\n").filter(Boolean)) {
  const found = /^([^(]+)\((\d+),(\d+)\): (.*)$/.exec(line);
  const origin = found && origins.get(found[1]);
  console.error(origin ? `${origin.file}:${origin.line + Number(found[2])}: ${found[4]}` : line);
}
console.log(
  `${origins.size} code blocks of the documentation ${status === 0 ? "compile" : "were compiled, with errors"}.`,
);
process.exitCode = status === 0 ? 0 : 1;
