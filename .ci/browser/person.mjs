/**
 * One person in front of the example, in a browser context of their own. What a person does and sees, by roles and names,
 * as a screen reader would say it. Every wait is for a condition.
 */

/** What Chromium itself logs when a request finds no server; everything else on the console counts as an error. */
const expectedNoise = /Failed to load resource|net::ERR_/;

export async function openPerson(browser, url, name) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  context.setDefaultTimeout(15_000);
  const errors = [];
  const watch = (page) => {
    page.on("pageerror", (error) => errors.push(`${name}: ${error.stack ?? error}`));
    page.on("console", (message) => {
      if (message.type() === "error" && !expectedNoise.test(message.text())) errors.push(`${name}: ${message.text()}`);
    });
    return page;
  };
  const page = watch(await context.newPage());
  await page.goto(url);
  await page.getByRole("button", { name, exact: true }).click();
  return { ...actions(page), context, errors, openTab: async () => tab(watch(await context.newPage()), url) };
}

async function tab(page, url) {
  await page.goto(url);
  return actions(page);
}

const commit = async (field, text) => {
  await field.fill(text);
  await field.press("Control+Enter");
};

function actions(page) {
  const task = (title) => page.getByRole("listitem", { name: title, exact: true });
  const panel = page.getByRole("complementary", { name: "Task" });
  const network = page.getByRole("switch", { name: "Online" });
  return {
    page,
    task,
    panel,
    sees: (title) => task(title).waitFor(),
    misses: (title) => task(title).waitFor({ state: "detached" }),
    seesDone: (title) => page.locator(`li[data-done][aria-label="${title}"]`).waitFor(),
    seesList: (title) => page.getByRole("link", { name: title }).waitFor(),
    missesList: (title) => page.getByRole("link", { name: title }).waitFor({ state: "detached" }),
    openList: async (title) => {
      await page.getByRole("link", { name: title }).click();
      await page.getByRole("region", { name: title }).waitFor();
    },
    add: async (title) => {
      const field = page.getByRole("textbox", { name: "Add a task" });
      await field.fill(title);
      await field.press("Enter");
      await task(title).waitFor();
    },
    tick: (title) => task(title).getByRole("checkbox").click(),
    rename: (title, to) => commit(task(title).getByRole("textbox", { name: "Title" }), to),
    openTask: async (title) => {
      const button = page.getByRole("button", { name: `Details of ${title}`, exact: true });
      if ((await button.getAttribute("aria-expanded")) !== "true") await button.click();
      await panel.waitFor();
    },
    closeTask: () => page.getByRole("button", { name: "Close the task" }).click(),
    setNotes: (text) => commit(panel.getByRole("textbox", { name: "Notes" }), text),
    seesNotes: (text) =>
      page.waitForFunction(
        (wanted) => document.querySelector('.panel textarea[aria-label="Notes"]')?.value === wanted,
        text,
      ),
    setPriority: (priority) => panel.locator(".segments label", { hasText: priority }).click(),
    seesPriority: (priority) =>
      panel.locator(".segments label", { hasText: priority }).locator("input:checked").waitFor({ state: "attached" }),
    comment: async (text) => {
      const field = panel.getByRole("textbox", { name: "Add a comment" });
      await field.fill(text);
      await field.press("Enter");
    },
    seesComment: (text) => panel.getByText(text, { exact: true }).waitFor(),
    goOffline: () => network.uncheck({ force: true }),
    goOnline: () => network.check({ force: true }),
    seesStatus: (text) => page.locator(".status", { hasText: text }).waitFor(),
    seesWaiting: (title) => task(title).getByText("Not sent yet").waitFor({ state: "attached" }),
    seesSent: (title) => task(title).getByText("Not sent yet").waitFor({ state: "detached" }),
    seesSetAside: (count) => page.getByRole("button", { name: `Set aside ${count}`, exact: true }).waitFor(),
    setAside: page.getByRole("dialog", { name: "Set aside" }),
    openSetAside: () => page.getByRole("button", { name: /^Set aside/ }).click(),
    reload: () => page.reload(),
    /** The page itself is kept by the service worker. */
    pageIsKept: () => page.waitForFunction(async () => (await caches.match("/")) !== undefined),
  };
}
