// Look at: a small service worker, so that a reload without a network finds the page. It never touches the data.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

export const dynamic = "force-dynamic";

export async function GET() {
  const built = join(/* turbopackIgnore: true */ process.cwd(), ".next");
  const id = await readFile(join(built, "BUILD_ID"), "utf8");
  const entries = await readdir(join(built, "static"), { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile() && !/\.(map|ts)$/.test(entry.name))
    .map((entry) => `/_next/static${join(entry.parentPath, entry.name).slice(join(built, "static").length)}`);
  // Another build gives another text, which is how a browser knows that there is a new service worker.
  return new Response(script.replace("BUILD", JSON.stringify(id)).replace("FILES", JSON.stringify(files)), {
    headers: { "content-type": "text/javascript", "cache-control": "no-cache" },
  });
}

const script = `
const build = "build-" + BUILD, files = FILES;

// Everything the page and the worker load, the SQLite module included. Names contain hashes: what is cached stays true.
self.addEventListener("install", (event) => event.waitUntil(caches.open(build).then((cache) => cache.addAll(files))));

self.addEventListener("activate", (event) => event.waitUntil((async () => {
  for (const name of await caches.keys()) if (name !== build && name !== "page") await caches.delete(name);
  await self.clients.claim();
})()));

// The page says when somebody has signed in: from then on their page is the one to keep.
const keepPage = async () => (await caches.open("page")).add("/");
self.addEventListener("message", (event) => event.waitUntil(keepPage()));

self.addEventListener("fetch", (event) => {
  const { request } = event, url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== location.origin) return;
  if (request.mode === "navigate") event.respondWith(fetch(request).catch(async (error) => {
    const page = await caches.match("/");
    if (page) return page;
    throw error;
  }));
  else if (url.pathname.startsWith("/_next/static/")) event.respondWith(caches.match(url.pathname).then((kept) =>
    // A new response has the address that was asked for, with the part after the # in which a worker finds its settings.
    kept ? new Response(kept.body, kept) : fetch(request)));
});
`;
