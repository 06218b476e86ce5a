/**
 * The site of the browser tests: page and worker bundled by esbuild, as an app's bundler would, SQLite prebundled, and
 * whatever else a test mounts.
 *
 * @module
 */

import { createReadStream, existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
// @ts-expect-error a build step in plain JavaScript has no types
import { prebundleSqlite } from "../../client/browser/sqlite/prebundle.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));

export interface WebSite extends AsyncDisposable {
  readonly url: string;
}

export interface WebSiteOptions {
  /** Gets requests under `/api/`. */
  readonly api?: RequestListener;
  /** The files to bundle; the first one is the page's. @default those of the browser tests */
  readonly entries?: readonly string[];
  /** The markup of the React page, rendered by the server. */
  readonly reactMarkup?: string;
}

const ownEntries = ["web-page.ts", "react-page.tsx", "web.worker.ts"].map((file) => path.join(here, file));

const scriptOf = (entry = ""): string => path.basename(entry).replace(/\.tsx?$/, ".js");

/** Bundles and serves. */
export async function serveWebSite({
  api,
  entries = ownEntries,
  reactMarkup = "",
}: WebSiteOptions = {}): Promise<WebSite> {
  const folder = await mkdtemp(path.join(tmpdir(), "drizzle-sync-site-"));
  // The build step is plain JavaScript: a folder in, files out.
  await (prebundleSqlite as (folder: string) => Promise<void>)(folder);
  await build({
    entryPoints: [...entries],
    jsx: "automatic",
    bundle: true,
    format: "esm",
    target: "es2022",
    sourcemap: "inline",
    outdir: folder,
    logLevel: "warning",
    plugins: [
      {
        name: "prebundled-sqlite",
        setup: (bundler) =>
          bundler.onResolve({ filter: /\/sqlite3\.js$/ }, () => ({ path: path.join(folder, "sqlite3.js") })),
      },
    ],
  });
  await writeFile(
    path.join(folder, "index.html"),
    '<!doctype html><title>test</title><script type="module" src="/' + scriptOf(entries[0]) + '"></script>',
  );
  await writeFile(
    path.join(folder, "react.html"),
    `<!doctype html><title>test</title><div id="root">${reactMarkup}</div><script type="module" src="/react-page.js"></script>`,
  );
  const server = createServer((request, response) => {
    if (request.url?.startsWith("/api/") && api) api(request, response);
    else serveFile(folder, request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rm(folder, { recursive: true });
    },
  };
}

const types: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".wasm": "application/wasm",
};

function serveFile(folder: string, request: IncomingMessage, response: ServerResponse): void {
  if (request.url === "/favicon.ico") {
    response.writeHead(204).end();
    return;
  }
  const { pathname } = new URL(request.url ?? "/", "http://localhost");
  const file = path.join(folder, pathname === "/" ? "index.html" : pathname);
  if (!file.startsWith(folder) || !existsSync(file)) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, {
    "content-type": types[path.extname(file)] ?? "application/octet-stream",
    "cache-control": "no-store",
  });
  createReadStream(file).pipe(response);
}
