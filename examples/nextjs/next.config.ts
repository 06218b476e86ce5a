// Look at: what is not here. No headers, no worker or WebAssembly settings: drizzle-sync needs none.
import type { NextConfig } from "next";

const config: NextConfig = {
  // The library's own lockfile lies two folders up; the app ends here.
  turbopack: { root: import.meta.dirname },
  devIndicators: false,
};

export default config;
