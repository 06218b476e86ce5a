/**
 * Makes one file of each program, so that a killed process is back in a moment.
 *
 * @module
 */

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

/** The programs, until they are removed. */
export interface Programs {
  readonly server: string;
  readonly device: string;
  remove(): void;
}

/** Bundles the programs. They stand inside `node_modules`, where packages are found. */
export async function bundlePrograms(): Promise<Programs> {
  const cache = fileURLToPath(new URL("../../../node_modules/.cache/", import.meta.url));
  mkdirSync(cache, { recursive: true });
  const outdir = mkdtempSync(`${cache}kill-`);
  await build({
    entryPoints: ["server-process.ts", "device-process.ts"].map((file) =>
      fileURLToPath(new URL(file, import.meta.url)),
    ),
    outdir,
    bundle: true,
    packages: "external",
    platform: "node",
    target: "node20",
    format: "esm",
    outExtension: { ".js": ".mjs" },
    sourcemap: "inline",
    logLevel: "warning",
  });
  return {
    server: `${outdir}/server-process.mjs`,
    device: `${outdir}/device-process.mjs`,
    remove: () => rmSync(outdir, { recursive: true }),
  };
}
