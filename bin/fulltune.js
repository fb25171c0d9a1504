#!/usr/bin/env node
// Starts the command line from dist/, or says how to make it.

import { existsSync } from 'node:fs';

const main = new URL('../dist/cli/main.js', import.meta.url);
if (existsSync(main)) {
  const { main: run } = await import(main.href);
  process.exitCode = await run(process.argv.slice(2));
} else {
  console.error('fulltune is not built yet. Run: npm run build');
  process.exitCode = 2;
}
