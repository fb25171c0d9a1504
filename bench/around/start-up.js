/** From the start of a process to its help, and to the first step of a small model. Goals: 150 ms and 1.5 s. */

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { timeLine } from '../support/lines.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const program = join(root, 'bin', 'fulltune.js');
const shared = join(root, '..', 'shared');

/** @param {import('../support/options.js').Options} options */
export async function startUp({ rounds }) {
  const scratch = mkdtempSync(join(tmpdir(), 'fulltune-start-'));
  try {
    const times = { node: [], help: [], trainHelp: [], first: [], cached: [] };
    for (let round = -1; round < Math.max(10, rounds); round++) {
      const node = await until(['-e', '0'], undefined);
      const help = await until([program, '--help'], undefined);
      const trainHelp = await until([program, 'train', '--help'], undefined);
      if (round < 0) continue;
      times.node.push(node);
      times.help.push(help);
      times.trainHelp.push(trainHelp);
    }
    for (let round = -1; round < rounds; round++) {
      const cache = join(scratch, `cache-${round}`);
      for (const list of [times.first, times.cached]) {
        const ms = await until([
          program, 'train', '--model', join(shared, 'models/stories260K'), '--dataset', join(shared, 'datasets/tinystories_sample.jsonl'), '--max-steps', '1', '--json',
          '--output-dir', join(scratch, `run-${round}-${times.cached === list}`),
        ], (line) => line.includes('"kind":"step"'), { FULLTUNE_CACHE: cache });
        if (round >= 0) list.push(ms);
      }
    }
    return [
      timeLine('node itself', times.node), timeLine('fulltune --help', times.help, 150), timeLine('fulltune train --help', times.trainHelp),
      timeLine('first step of stories260K, nothing cached', times.first, 1500), timeLine('… tokens cached', times.cached, 1500),
    ];
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/**
 * Milliseconds from the start of a Node process until a line of its output fits, or else until it ends.
 * @param {readonly string[]} args
 * @param {((line: string) => boolean) | undefined} fits
 * @param {Record<string, string>} [env]
 */
async function until(args, fits, env = {}) {
  const started = performance.now();
  let at;
  const child = spawn(process.execPath, [...args], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  let complaints = '';
  child.stderr.on('data', (text) => (complaints += text));
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (at === undefined && fits?.(line) === true) at = performance.now();
  });
  const code = await new Promise((resolve) => child.once('close', resolve));
  if (code !== 0 || (fits !== undefined && at === undefined)) throw new Error(`${args.join(' ')} ended with ${code}\n${complaints}`);
  return (at ?? performance.now()) - started;
}
