/** What the native module does to a process: how one ends during a run, and that guard pages catch a kernel that leaves the arena. */

import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { Worker } from 'node:worker_threads';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { nativeFile } from './loader.ts';

const BYTES = 2 ** 26;
/** Compiled here if need be, outside of what is timed. */
const module = JSON.stringify(nativeFile());

/** A script that starts `count` additions over all of an arena and then runs `then`. */
function startRun(count: number, then: string): string {
  const elements = BYTES / 4;
  return `
    const native = require(${module});
    const device = native.createDevice(native.targets()[0].name, 2);
    native.allocate(device, ${BYTES}, false).then((arena) => {
      const code = [1, ${BYTES}, 0, ${count}];
      for (let i = 0; i < ${count}; i++) code.push(0, 2, 1, 0, 0, 0, 0, 1, ${elements}, 0, 0, 1, ${elements}, 0, 0, 1, ${elements}, 0);
      native.run(native.load(arena, Float64Array.from(code), ['add'])).then(() => console.log('done'));
      ${then}
    });`;
}

function runScript(script: string): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', timeout: 30_000 });
}

it('lets the process end during a run', () => {
  const before = performance.now();
  const { status, stdout, stderr } = runScript(startRun(4000, 'setTimeout(() => process.exit(7), 100);'));
  expect({ status, stdout, stderr }).toEqual({ status: 7, stdout: '', stderr: '' });
  expect(performance.now() - before).toBeLessThan(5000);
});

it('lets the process end by an error during a run', () => {
  const { status, stdout, stderr } = runScript(startRun(4000, "setTimeout(() => { throw new Error('stop'); }, 100);"));
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
  expect(stderr).toContain('stop');
});

it('keeps the process alive until the run is done', () => {
  expect(runScript(startRun(3, ''))).toMatchObject({ status: 0, stdout: 'done\n', stderr: '' });
});

it('lets a worker be terminated during a run', async () => {
  const worker = new Worker(startRun(4000, "require('node:worker_threads').parentPort.postMessage('running');"), { eval: true });
  await new Promise((resolve) => worker.once('message', resolve));
  await sleep(50);
  const before = performance.now();
  await worker.terminate();
  expect(performance.now() - before).toBeLessThan(1500);
});

it('ends the process when a kernel leaves a guarded arena', () => {
  // `add` goes by the size of its first input: a smaller output is overrun, which the compiler of programs never makes
  const script = (elements: number): string => `
    const native = require(${module});
    const device = native.createDevice(native.targets()[0].name, 1);
    native.allocate(device, 4096, true).then((arena) => {
      const code = [1, 4096, 1, 1, 0, 2, 1, 0, 0, 0, 0, 1, ${elements}, 0, 0, 1, ${elements}, 0, 0, 1, 16, ${4096 - 64}];
      native.run(native.load(arena, Float64Array.from(code), ['add'])).then(() => console.log('done'));
    });`;
  expect(runScript(script(16))).toMatchObject({ status: 0, stdout: 'done\n' });
  expect(runScript(script(17))).toMatchObject({ signal: 'SIGSEGV', stdout: '' });
});
