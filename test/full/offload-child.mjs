/**
 * Starts a run on the built code; after its first checkpoint no file may grow any more (a limit of the process, set from outside). Prints the steps
 * that were done and the error as JSON. Run by offload.test.ts in a process of its own.
 *
 *   node offload-child.mjs CONFIG
 */

import { execFileSync } from 'node:child_process';

import { train } from '../../dist/index.js';

const steps = [];
try {
  for await (const event of train(JSON.parse(process.argv[2]))) {
    if (event.kind === 'step') steps.push(event.step);
    // Room for events.jsonl, not for the state.
    if (event.kind === 'checkpoint') execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${256 * 1024}`]);
  }
  process.stdout.write(JSON.stringify({ steps }));
} catch ({ code, message, where, remedy }) {
  process.stdout.write(JSON.stringify({ steps, error: { code, message, where, remedy } }));
}
