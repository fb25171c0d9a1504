#!/usr/bin/env node
// Starts the command line from dist/, or says how to make it.

import { existsSync } from 'node:fs';
import module from 'node:module';

// From Node 22.8 on: what was compiled once is read from the system's folder for temporary files. NODE_DISABLE_COMPILE_CACHE=1 turns that off.
module.enableCompileCache?.();

const main = new URL('../dist/cli/main.js', import.meta.url);
if (existsSync(main)) {
  const { main: run } = await import(main.href);
  process.exitCode = await run(process.argv.slice(2));
} else {
  console.error('fulltune is not built yet. Run: npm run build');
  process.exitCode = 2;
}
