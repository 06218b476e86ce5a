/** The prebundled official SQLite build: written by `prebundle.mjs` at build time, with `sqlite3.wasm` beside it. */
import type { Sqlite } from "./sqlite-module.ts";

declare const init: (options?: { readonly print?: () => void; readonly printErr?: () => void }) => Promise<Sqlite>;
// oxlint-disable-next-line import/no-default-export -- as the package has it.
export default init;
