/**
 * Gives back what the JavaScript heap took for planning, before the arena takes its place beside it, and keeps it small while a run goes on.
 * V8 holds on to its young generation (48 MiB, in newer versions 144) and to pages that were full once; a run makes little garbage.
 */

import { setFlagsFromString } from 'node:v8';

/** Shrinks the heap (20 to 100 ms) and stops its young generation from growing, until the function that it resolves to is called. */
export async function keepHeapSmall(): Promise<() => void> {
  await collectAll();
  // Read whenever the young generation is about to grow; 2 is V8's own.
  setFlagsFromString('--semi-space-growth-factor=1');
  return () => setFlagsFromString('--semi-space-growth-factor=2');
}

/**
 * What a debugger's "collect garbage" does. `gc()` of --expose-gc leaves the young generation as large as it is in Node 20, and
 * v8.queryObjects(), which does not, needs tens of megabytes for the query.
 */
async function collectAll(): Promise<void> {
  const inspector = await import('node:inspector').catch(() => undefined); // Node can be built without it: then the heap stays as it is
  if (inspector === undefined) return;
  const session = new inspector.Session();
  session.connect();
  try {
    await new Promise<void>((resolve) => session.post('HeapProfiler.collectGarbage', () => resolve()));
  } finally {
    session.disconnect();
  }
}
