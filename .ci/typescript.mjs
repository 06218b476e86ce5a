/**
 * Lets Node 20 run TypeScript: `node --import ./.ci/typescript.mjs file.ts`. Types are stripped by esbuild, nothing is
 * checked; `npm run typecheck` does that. For programs of this repository alone, not for the package.
 */
import { register } from "node:module";

process.setSourceMapsEnabled(true);
register("./typescript-hooks.mjs", import.meta.url);
