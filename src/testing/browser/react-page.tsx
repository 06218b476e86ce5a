/** Hydrates the React app, and keeps what React complains of. */

import { StrictMode } from "react";
import { hydrateRoot } from "react-dom/client";
import { eq } from "drizzle-orm";
import { App, client, db, misplaced } from "./react-app.tsx";
import { lists, todos } from "./web-schema.ts";

const complaints: string[] = [];
const root = document.getElementById("root");
if (!root) throw new Error("The page has no root.");

hydrateRoot(
  root,
  <StrictMode>
    <App />
  </StrictMode>,
  // A boundary that could not be rendered on the server is completed here, and React says so; anything else is a mismatch.
  {
    onRecoverableError: (error) =>
      complaints.push(
        error instanceof Error
          ? `${error.message} ${error.cause instanceof Error ? error.cause.message : ""}`
          : String(error),
      ),
  },
);

const page = { db, client, complaints, misplaced, eq, lists, todos };

declare global {
  interface Window {
    readonly react: typeof page;
  }
}

Object.assign(window, { t: page, react: page });
