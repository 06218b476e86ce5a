/**
 * The module hooks behind `typescript.mjs`.
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { transform } from "esbuild";

export async function load(url, context, nextLoad) {
  const match = /\.(tsx?)$/.exec(url);
  if (!match || !url.startsWith("file:")) return nextLoad(url, context);
  const sourcefile = fileURLToPath(url);
  const { code } = await transform(await readFile(sourcefile, "utf8"), {
    loader: match[1],
    jsx: "automatic",
    target: "node20",
    format: "esm",
    sourcemap: "inline",
    sourcefile,
  });
  return { format: "module", source: code, shortCircuit: true };
}
