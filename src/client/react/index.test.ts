import { expect, test } from "vitest";
import * as entry from "./index.ts";

test("the entry point exports the provider and the hooks", () => {
  expect(Object.keys(entry)).toMatchInlineSnapshot(`
    [
      "SyncProvider",
      "useSyncClient",
      "useLiveQuery",
      "useSync",
      "usePending",
      "useOutcomes",
    ]
  `);
});
