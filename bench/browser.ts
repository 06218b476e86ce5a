/** `browser`: a first sync in Chromium on OPFS, against the fastest local load of the same rows. */
import { fileURLToPath } from "node:url";
import { launchChromium } from "../src/testing/browser/chromium.ts";
import { serveWebSite } from "../src/testing/browser/web-site.ts";
import { generateTodos } from "./data.ts";
import { compare, interleave, median, round, type BenchOptions, type Result } from "./measure.ts";
import { inScene } from "./scene.ts";
import type { BrowserPage, BrowserTook } from "./sides/browser-page.ts";
import { fillServer } from "./sides/database.ts";
import { proxyTo } from "./sides/proxy.ts";

export const defaults = { rows: 100_000, runs: 3 };

const entries = ["browser-page.ts", "browser.worker.ts", "browser-load.worker.ts"].map((file) =>
  fileURLToPath(new URL(`sides/${file}`, import.meta.url)),
);

export const run = ({ rows, runs, seed }: BenchOptions): Promise<Result> =>
  inScene(async (scene) => {
    await fillServer(scene.file("server"), "ours", rows, seed);
    const { server, url } = await scene.server("ours", "server");
    const api = proxyTo(url, { "/api/rows": JSON.stringify([...generateTodos(rows, seed)]) });
    const site = await serveWebSite({ api, entries });
    const browser = await launchChromium();
    try {
      let turns = 0;
      const turn = (what: keyof BrowserPage) => async (): Promise<number> => {
        const page = await browser.open(site.url);
        const took = await page.evaluate(
          ([act, name]) =>
            (window as unknown as { readonly t: Readonly<Record<string, (name: string) => Promise<BrowserTook>>> }).t[
              act as string
            ]?.(name as string),
          [what, `${what}-${turns++}`],
        );
        await page.close();
        if (took?.rows !== rows) throw new Error(`The file in the browser has ${String(took?.rows)} rows of ${rows}.`);
        return took.ms;
      };
      const [ours, load] = await interleave(runs, turn("bootstrap"), turn("load"));
      return {
        name: "browser",
        rows: [compare(`${rows} rows on OPFS`, ours, load, 1.6, "the fastest local load")],
        figures: {
          "rows a second": Math.round((rows / median(ours)) * 1000),
          "rows a second, local load": Math.round((rows / median(load)) * 1000),
          "first sync, ms": round(median(ours)),
        },
      };
    } finally {
      await browser[Symbol.asyncDispose]();
      await site[Symbol.asyncDispose]();
      await server.call("close");
      await server.stop();
    }
  });
