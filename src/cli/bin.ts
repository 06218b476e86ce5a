#!/usr/bin/env node
/**
 * The executable behind `drizzle-sync`.
 *
 * @module
 */

import { main } from "./drizzle-sync.ts";

process.exitCode = await main(process.argv.slice(2));
