/**
 * `npm run test:browser`: builds the example, starts it on a database of its own, and drives it with Chromium as two people
 * who share a list. `CHROMIUM` names the browser; `SKIP_BUILD=1` takes the app as it was built last.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildExample, startExample } from "../example.mjs";
import { openPerson } from "./person.mjs";

const executablePath = [
  process.env.CHROMIUM,
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
].find((path) => path && existsSync(path));

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

if (process.env.SKIP_BUILD !== "1") buildExample();
const { chromium } = await import("playwright-core");
const folder = mkdtempSync(join(tmpdir(), "drizzle-sync-browser-"));
const server = { port: await freePort(), databasePath: join(folder, "app.db"), output: "pipe" };
let app = await startExample(server);

const browser = await chromium
  .launch({ ...(executablePath ? { executablePath } : {}), args: ["--no-sandbox"] })
  .catch((error) => {
    console.error(
      `No Chromium was found. Install one (Debian: apt-get install chromium), or name it: CHROMIUM=/path/to/chromium npm run test:browser.\n${error.message}`,
    );
    return undefined;
  });
if (!browser) {
  await app.stop();
  process.exit(1);
}

let passed = 0;
let failed = 0;
const people = [];

async function test(name, body) {
  const started = performance.now();
  try {
    await body();
    passed += 1;
    console.log(`ok      ${name} (${Math.round(performance.now() - started)} ms)`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n        ${String(error.stack ?? error).replaceAll("\n", "\n        ")}`);
    for (const [index, { page }] of people.entries()) {
      const path = join(tmpdir(), `drizzle-sync-failed-${failed}-${index}.png`);
      await page.screenshot({ path }).then(
        () => console.log(`        screen: ${path}`),
        (reason) => console.log(`        no screen: ${reason.message}`),
      );
    }
  }
}

function check(condition, message) {
  if (!condition) throw new Error(message);
}

let ada;
let ben;

await test("a forged session is nobody's: the page asks who it is, and sync answers 401", async () => {
  const headers = {
    cookie: "session=eyJhbGciOiJub25lIn0.eyJzdWIiOiI1ZjBjNmMxZS03YTU0LTRkMGUtOWEzOC0xZjZmMGExZDEwMDEifQ.",
  };
  check(
    (await (await fetch(app.url, { headers })).text()).includes("Who are you today?"),
    "A forged session was accepted by the page.",
  );
  const { status } = await fetch(`${app.url}/api/sync/v1/pull`, {
    method: "POST",
    headers: { ...headers, "content-type": "application/cbor" },
    body: new Uint8Array([0xa0]),
  });
  check(status === 401, `A forged session was answered with ${status} by sync.`);
});

await test("two people sign in, and each sees the lists that are theirs", async () => {
  ada = await openPerson(browser, app.url, "Ada");
  people.push(ada);
  ben = await openPerson(browser, app.url, "Ben");
  people.push(ben);
  for (const person of people) {
    await person.openList("Kitchen renovation");
    await person.sees("Choose tiles");
    await person.seesStatus("Up to date");
  }
  await ada.seesList("Reading group");
  await ben.missesList("Reading group");
});

await test("the server renders the list, so it is there without any script", async () => {
  const cookies = (await ada.context.cookies()).map(({ name, value }) => `${name}=${value}`).join("; ");
  const html = await (await fetch(app.url, { headers: { cookie: cookies } })).text();
  check(html.includes("Order the worktop") && html.includes("Reading group"), "The first page lacks the rows.");
});

await test("a task added by one person appears for the other", async () => {
  await ada.add("Buy primer for the walls");
  await ben.sees("Buy primer for the walls");
  await ada.seesSent("Buy primer for the walls");
});

await test("a title, a tick, notes, a priority and a comment reach the other person", async () => {
  await ben.rename("Buy primer for the walls", "Buy primer and rollers");
  await ada.sees("Buy primer and rollers");
  await ada.openTask("Buy primer and rollers");
  await ben.openTask("Buy primer and rollers");
  await ada.setNotes("Ten litres are enough.");
  await ben.seesNotes("Ten litres are enough.");
  await ben.setPriority("high");
  await ada.seesPriority("high");
  await ben.comment("I can pick it up on Saturday.");
  await ada.seesComment("I can pick it up on Saturday.");
  await ada.tick("Buy primer and rollers");
  await ben.seesDone("Buy primer and rollers");
  await ada.closeTask();
  await ben.closeTask();
});

await test("a second tab shows what the first one writes, and writes itself", async () => {
  const second = await ada.openTab();
  await second.openList("Kitchen renovation");
  await ada.add("Paint the ceiling");
  await second.sees("Paint the ceiling");
  await second.tick("Paint the ceiling");
  await ada.seesDone("Paint the ceiling");
  await second.page.close();
  await ben.seesDone("Paint the ceiling");
  await ada.seesSent("Paint the ceiling");
});

await test("offline changes wait, are marked, and are counted", async () => {
  await ada.goOffline();
  await ada.seesStatus("Working offline");
  await ada.rename("Order the worktop", "Order the worktop in ash");
  await ada.openTask("Order the worktop in ash");
  await ada.setPriority("high");
  await ada.rename("Choose tiles", "Choose tiles without Ben");
  await ada.add("Thought of on the train");
  await ada.seesWaiting("Thought of on the train");
  await ada.seesWaiting("Order the worktop in ash");
  await ada.seesStatus("4 changes waiting");
});

await test("a reload while offline keeps everything, the switch included", async () => {
  await ada.reload();
  await ada.seesStatus("Working offline");
  await ada.seesStatus("4 changes waiting");
  await ada.openList("Kitchen renovation");
  for (const title of ["Order the worktop in ash", "Choose tiles without Ben", "Thought of on the train"]) {
    await ada.sees(title);
    await ada.seesWaiting(title);
  }
});

await test("meanwhile the other person changes another field of one task, and the same field of another", async () => {
  await ben.openTask("Order the worktop");
  await ben.setNotes("The supplier called: ash costs the same.");
  await ben.rename("Choose tiles", "Choose tiles for the floor");
  await ben.seesSent("Choose tiles for the floor");
  await ben.seesSent("Order the worktop");
  await ben.misses("Thought of on the train");
});

await test("back online both show the same: different fields are merged, the server's title stays", async () => {
  await ada.goOnline();
  for (const person of people) {
    await person.sees("Thought of on the train");
    await person.sees("Order the worktop in ash");
    await person.openTask("Order the worktop in ash");
    await person.seesNotes("The supplier called: ash costs the same.");
    await person.seesPriority("high");
    await person.sees("Choose tiles for the floor");
    await person.misses("Choose tiles without Ben");
    await person.seesStatus("Up to date");
  }
});

await test("the value that was set aside is shown to its author alone, with both versions", async () => {
  await ada.seesSetAside(1);
  await ben.seesSetAside(0);
  await ada.openSetAside();
  await ada.setAside.getByText("Choose tiles without Ben").waitFor();
  await ada.setAside.getByText("Choose tiles for the floor").first().waitFor();
});

await test("what was set aside survives a reload, and its author can bring it back", async () => {
  await ada.reload();
  await ada.seesSetAside(1);
  await ada.openSetAside();
  await ada.setAside.getByRole("button", { name: "Use mine" }).click();
  await ada.setAside.getByRole("button", { name: "Close" }).click();
  await ada.openList("Kitchen renovation");
  await ada.sees("Choose tiles without Ben");
  await ben.sees("Choose tiles without Ben");
  await ada.seesSetAside(0);
  await ada.seesSent("Choose tiles without Ben");
});

await test("with the server gone, the page reloads and goes on; when it is back, both are in step", async () => {
  await ada.pageIsKept();
  await app.stop();
  await ada.seesStatus("No connection");
  await ada.add("Written without a server");
  await ada.seesStatus("1 change waiting");
  await ada.reload();
  await ada.openList("Kitchen renovation");
  await ada.sees("Written without a server");
  await ada.seesStatus("1 change waiting");
  app = await startExample(server);
  await ben.sees("Written without a server");
  await ada.seesStatus("Up to date");
});

await test("a list that is shared appears with its tasks and comments, and goes when it is not shared any more", async () => {
  await ada.openList("Reading group");
  await ada.page.getByRole("button", { name: "Share", exact: true }).click();
  await ada.page.getByRole("button", { name: "Share Ben" }).click();
  await ben.seesList("Reading group");
  await ben.openList("Reading group");
  await ben.add("Bring cake");
  await ada.sees("Bring cake");
  await ada.page.getByRole("button", { name: "Leave Ada" }).click();
  await ada.missesList("Reading group");
  await ben.seesSent("Bring cake");
});

await test("a change in a list that one has lost meanwhile is refused, and kept for its author", async () => {
  await ben.openList("Weekly shop");
  await ben.goOffline();
  await ben.add("Batteries");
  await ben.seesStatus("1 change waiting");
  await ada.openList("Weekly shop");
  await ada.page.getByRole("button", { name: "Share", exact: true }).click();
  await ada.page.getByRole("button", { name: "Remove Ben" }).click();
  await ada.page.getByRole("button", { name: "Share Ben" }).waitFor();
  await ada.page.getByRole("button", { name: "Close", exact: true }).click();
  await ben.goOnline();
  await ben.missesList("Weekly shop");
  await ben.seesSetAside(1);
  await ben.openSetAside();
  await ben.setAside.getByText("Batteries").first().waitFor();
  await ben.setAside.getByText("The server refused this").waitFor();
  await ben.setAside.getByRole("button", { name: "Discard" }).click();
  await ben.setAside.getByRole("button", { name: "Close" }).click();
  await ben.seesSetAside(0);
  await ben.seesStatus("Up to date");
});

await test("a new list is there at once, and others see it only when it is shared", async () => {
  const field = ada.page.getByRole("textbox", { name: "New list" });
  await field.fill("Garden");
  await field.press("Enter");
  await ada.page.getByRole("region", { name: "Garden" }).waitFor();
  await ada.add("Prune the apple tree");
  await ada.seesStatus("Up to date");
  await ben.missesList("Garden");
});

await test("a deleted task is gone for both, with its comments", async () => {
  for (const person of people) await person.openList("Kitchen renovation");
  await ada.openTask("Buy primer and rollers");
  await ada.page.getByRole("button", { name: "Delete the task" }).click();
  await ada.page.getByRole("button", { name: "Really delete" }).click();
  await ada.misses("Buy primer and rollers");
  await ben.misses("Buy primer and rollers");
  await ada.seesStatus("Up to date");
});

await test("another person in the same browser has a database of their own", async () => {
  await ada.page.getByRole("button", { name: "Switch person" }).click();
  await ada.page.getByRole("button", { name: "Chloe", exact: true }).click();
  await ada.seesList("Lisbon in May");
  await ada.missesList("Kitchen renovation");
  await ada.seesStatus("Up to date");
});

await test("when the tab that owns the database is closed, the other one has everything and sends it", async () => {
  const second = await ada.openTab();
  await second.openList("Lisbon in May");
  await ada.openList("Lisbon in May");
  await ada.goOffline();
  await second.seesStatus("Working offline");
  await ada.add("Pack the small suitcase");
  await second.seesWaiting("Pack the small suitcase");
  await ada.page.close();
  await second.tick("Pack the small suitcase");
  await second.seesStatus("2 changes waiting");
  await second.goOnline();
  await second.seesStatus("Up to date");
  await ben.openList("Lisbon in May");
  await ben.seesDone("Pack the small suitcase");
});

await test("no page reported an error", async () => {
  const errors = people.flatMap((person) => person.errors);
  check(errors.length === 0, errors.join("\n"));
});

await browser.close();
await app.stop();
if (failed > 0) console.log(app.log());
rmSync(folder, { recursive: true, force: true });
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
