/** kill -9 at every point of the writing of checkpoints: what was complete stays, what was not is never seen. */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { listCheckpoints, newestCheckpoint, verifyCheckpoint, writeCheckpoint } from '../../src/files/checkpoint.ts';
import { readEvents } from '../../src/files/event-log.ts';
import { readSafetensorsHeader } from '../../src/files/safetensors.ts';
import { restoreReplaced } from '../../src/files/write-aside.ts';

const child = fileURLToPath(new URL('checkpoint-child.mjs', import.meta.url));
const built = fileURLToPath(new URL('../../dist/files/checkpoint.js', import.meta.url));

type Mode = 'new' | 'replace';

interface Dead {
  readonly point: number;
  /** Its run directory. */
  readonly run: string;
  /** Where it died; undefined when it lived to the end of its work. */
  readonly name: string | undefined;
}

let folder = '';
beforeAll(() => {
  if (!existsSync(built)) throw new Error('this test needs the built code in dist/: run `npm run build` first');
  folder = mkdtempSync(join(tmpdir(), 'fulltune-crash-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A run directory after the rounds before `round`. */
function prepare(round: number, mode: Mode): string {
  const run = mkdtempSync(join(folder, `${mode}-`));
  const { status, stderr } = spawnSync(process.execPath, [child, run, '0', '1', String(round - 1), mode], { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return run;
}

/** Runs one round to the child's death at `point`, in a copy of `before`. */
async function killAt(point: number, round: number, mode: Mode, before: string): Promise<Dead> {
  const run = mkdtempSync(join(folder, `${mode}-${round}-${point}-`));
  cpSync(before, run, { recursive: true });
  const dying = spawn(process.execPath, [child, run, String(point), String(round), String(round), mode], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [name, stderr, [status, signal]] = await Promise.all([text(dying.stdout), text(dying.stderr), once(dying, 'exit')]);
  expect(stderr).toBe('');
  if (status === 0) return { point, run, name: undefined };
  expect(signal).toBe('SIGKILL');
  return { point, run, name };
}

/** Kills at every point of a round, four processes at a time; returns the points' names. */
async function forEachPoint(round: number, mode: Mode, check: (dead: Dead & { readonly name: string }) => Promise<void>): Promise<string[]> {
  const before = prepare(round, mode);
  const names: string[] = [];
  for (let first = 1; ; first += 4) {
    for (const { name, ...dead } of await Promise.all([0, 1, 2, 3].map((i) => killAt(first + i, round, mode, before)))) {
      if (name === undefined) return names;
      await check({ ...dead, name });
      names.push(name);
    }
  }
}

async function checkAllComplete(run: string): Promise<number[]> {
  const checkpoints = listCheckpoints(run);
  for (const { path, step } of checkpoints) {
    expect(await verifyCheckpoint(path)).toMatchObject({ step });
    expect(readSafetensorsHeader(join(path, 'model.safetensors')).tensors.map(({ name }) => name)).toEqual(['a', 'b']);
    expect(new Set(readFileSync(join(path, 'model.safetensors')).subarray(-24000))).toEqual(new Set([step]));
    expect(JSON.parse(readFileSync(join(path, 'trainer_state.json'), 'utf8'))).toEqual({ step });
  }
  expect(readdirSync(run).filter((name) => name.startsWith('checkpoint-'))).toHaveLength(checkpoints.length);
  expect(await newestCheckpoint(run, { verify: true })).toEqual(checkpoints.at(-1));
  return checkpoints.map(({ step }) => step);
}

/** The next write works, and clears away all that the dead one left. */
async function goOn(run: string): Promise<void> {
  const { path } = await writeCheckpoint(run, 1000, async (partial) => {
    writeFileSync(join(partial, 'trainer_state.json'), '{}');
    return {};
  });
  await verifyCheckpoint(path);
  expect(readdirSync(run).filter((name) => name.startsWith('.'))).toEqual([]);
}

const WRITE = ['begun', 'filled', 'synced', 'renamed', 'settled', 'done'];

describe('a process killed while it writes checkpoints', () => {
  it.each([1, 3])('leaves whole ones only, at every point of round %i', async (round) => {
    const names = await forEachPoint(round, 'new', async ({ point, run, name }) => {
      const steps = await checkAllComplete(run);
      const complete = ['renamed', 'settled', 'done', 'event written', 'rotated'].some((stage) => name.endsWith(stage));
      const newest = complete ? round : round - 1;
      expect([point, name, steps.at(-1)]).toEqual([point, name, newest === 0 ? undefined : newest]);
      // Rotation keeps two, and only begins when the third is in place.
      expect(steps.length).toBeGreaterThanOrEqual(Math.min(2, newest));
      expect((await readEvents(run)).length).toBeLessThanOrEqual(newest);
      await goOn(run);
    });
    expect(names).toEqual([
      `${round}: begun`, 'empty folder', 'inside a', 'inside b', 'weights written', 'all files written',
      ...WRITE.slice(1).map((stage) => `${round}: ${stage}`), 'event written', 'rotated',
    ]);
  }, 120_000);

  it('never loses a checkpoint or a model that is being replaced', async () => {
    const names = await forEachPoint(2, 'replace', async ({ run, name }) => {
      expect([name, await checkAllComplete(run)]).toEqual([name, [3]]);
      restoreReplaced(run);
      const model = join(run, 'model', 'model.safetensors');
      expect(readSafetensorsHeader(model).tensors).toHaveLength(2);
      const values = [...new Set(readFileSync(model).subarray(-24000))];
      expect(values).toHaveLength(1);
      expect(JSON.parse(readFileSync(join(run, 'model', 'trainer_state.json'), 'utf8'))).toEqual({ step: values[0] });
      await goOn(run);
    });
    for (const stage of [...WRITE, 'replacing']) expect(names.filter((name) => name === `2: ${stage}`)).toHaveLength(2);
    expect(names).toHaveLength(26);
  }, 120_000);
});
