import type { Page } from "playwright-core";
import { createElement, StrictMode } from "react";
import { renderToString } from "react-dom/server";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isBrowserMissing, launchChromium, type TestBrowser } from "../../testing/browser/chromium.ts";
import { App, db } from "../../testing/browser/react-app.tsx";
import { createWebApp, type WebApp } from "../../testing/browser/web-app.ts";
import { lists, todos } from "../../testing/browser/web-schema.ts";
import { serveWebSite, type WebSite } from "../../testing/browser/web-site.ts";

const markup = renderToString(createElement(StrictMode, null, createElement(App)));

test("the server renders `initial`, states that are not known yet, and the fallback of what must wait", () => {
  expect(markup).toContain("<li>From the server</li>");
  expect(markup).toContain('<p id="live">pending</p>');
  expect(markup).toContain("idle");
  expect(markup).toContain("waiting");
});

test("a query while rendering on the server throws a plain sentence", async () => {
  await expect(db.select().from(todos)).rejects.toMatchObject({
    cause: { message: expect.stringContaining("cannot be queried while rendering on the server") as unknown },
  });
});

describe.skipIf(isBrowserMissing())("React in the browser", () => {
  let site: WebSite;
  let app: WebApp;
  let browser: TestBrowser;
  let page: Page;

  beforeAll(async () => {
    app = createWebApp();
    app.db.insert(lists).values({ id: "l", title: "List" }).run();
    app.db.insert(todos).values({ id: "s1", listId: "l", title: "From the server" }).run();
    site = await serveWebSite({ api: app.listener, reactMarkup: markup });
    browser = await launchChromium();
    page = await browser.open(`${site.url}react.html`);
  }, 60_000);
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]();
    await site?.[Symbol.asyncDispose]();
    app?.[Symbol.dispose]();
  });

  const text = (selector: string): Promise<string | null> => page.locator(selector).textContent();
  const items = (): Promise<string[]> => page.locator("#todos li").allTextContents();

  test("local rows take over after hydration, without a mismatch", async () => {
    await expect.poll(() => text("#live")).toBe("ready");
    expect(await items()).toEqual([]);
    expect(await text("#off")).toBe("pending");
    await expect.poll(() => text("#titles")).toBe("");
    const complaints = await page.evaluate(() => window.react.complaints);
    expect(complaints.filter((complaint) => !complaint.includes("not there while rendering on the server"))).toEqual(
      [],
    );
  });

  test("queries, queue and state follow sync and local writes", async () => {
    await page.evaluate(() => window.react.client.start());
    await expect.poll(items, { timeout: 10_000 }).toEqual(["From the server"]);
    await expect.poll(() => text("#status")).toBe("synced 0 0 0 0");
    await expect.poll(() => text("#titles")).toBe("List: 1");
    await page.evaluate(() => window.react.client.pause());
    await expect.poll(() => text("#status")).toBe("paused 0 0 0 0");
    await page.evaluate(() =>
      window.react.db.insert(window.react.todos).values({ id: "a", listId: "l", title: "Mine" }),
    );
    await expect.poll(items).toEqual(["Mine", "From the server"]);
    await expect.poll(() => text("#status")).toBe("paused 1 1 0 0");
    await expect.poll(() => text("#titles")).toBe("List: 2");
  });

  test("a query is known by its SQL and parameters: another parameter is another query, and `initial` belongs to the first", async () => {
    await page.fill("#filter", "Mine");
    await expect.poll(items).toEqual(["Mine"]);
    expect(await page.evaluate(() => window.react.misplaced)).toEqual([]);
    await page.fill("#filter", "");
    await expect.poll(items).toEqual(["Mine", "From the server"]);
  });

  test("outcomes are listed until they are settled, in every tab", async () => {
    await page.evaluate(() =>
      window.react.db
        .update(window.react.todos)
        .set({ title: "mine" })
        .where(window.react.eq(window.react.todos.id, "s1")),
    );
    app.db.update(todos).set({ title: "theirs" }).run();
    await page.evaluate(() => window.react.client.resume());
    await expect.poll(() => text("#status"), { timeout: 10_000 }).toBe("synced 0 0 0 1");
    const other = await browser.open(`${site.url}react.html`);
    await expect.poll(() => other.locator("#status").textContent()).toBe("synced 0 0 0 1");
    await other.evaluate(async () => {
      const { outcomes } = window.react.client;
      for (const { id } of await outcomes.list()) await outcomes.resolve(id, "discard");
    });
    await expect.poll(() => text("#status")).toBe("synced 0 0 0 0");
    await expect.poll(() => other.locator("#status").textContent()).toBe("synced 0 0 0 0");
  });
});
