/**
 * `npm run demo`: the example app from a fresh clone, with everything that this takes. `PORT` chooses the port.
 */
import { buildExample, startExample } from "./example.mjs";

buildExample();
const app = await startExample({ port: Number(process.env.PORT ?? 3000) });
console.log(`
The demo runs at ${app.url}

  Sign in as Ada here and as Ben in a private window: both share the list "Kitchen renovation".
  Switch one of them offline, change the same task in both, and switch it on again.
  Stop with Ctrl+C. The server's database is examples/nextjs/data/app.db; delete the folder to start afresh.
`);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => void app.stop().then(() => process.exit(0)));
process.exitCode = await app.ended;
