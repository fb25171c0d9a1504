import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { FulltuneError } from '../base/errors.ts';
import {
  discardCheckpointsAfter, finishModel, listCheckpoints, namedCheckpoint, newestCheckpoint, rotateCheckpoints, verifyCheckpoint, writeCheckpoint,
} from './checkpoint.ts';
import { writeSafetensors } from './write-safetensors.ts';

/** No process has this id: Linux ends at 2^22. */
const DEAD = 99999999;

let run = '';
beforeEach(() => { run = mkdtempSync(join(tmpdir(), 'fulltune-checkpoint-')); });
afterEach(() => rmSync(run, { recursive: true }));

async function save(step: number, content = `step ${step}`): Promise<string> {
  const { path } = await writeCheckpoint(run, step, async (folder) => {
    const { sha256 } = await writeSafetensors({
      path: join(folder, 'model.safetensors'), tensors: [{ name: 'a', dtype: 'U8', shape: [1000] }], fill: (_, write) => write(new Uint8Array(1000).fill(step)),
    });
    writeFileSync(join(folder, 'trainer_state.json'), JSON.stringify({ content }));
    return { 'model.safetensors': sha256 };
  });
  return path;
}

const steps = (): number[] => listCheckpoints(run).map(({ step }) => step);
const hidden = (): string[] => readdirSync(run).filter((name) => name.startsWith('.'));

describe('writeCheckpoint', () => {
  it('writes all files with their checksums, and lists by step', async () => {
    for (const step of [100, 20, 3]) await save(step);
    expect(steps()).toEqual([3, 20, 100]);
    const newest = await newestCheckpoint(run, { verify: true });
    expect(newest).toEqual({ step: 100, path: join(run, 'checkpoint-100') });
    expect(readdirSync(join(run, 'checkpoint-3')).sort()).toEqual(['checksums.json', 'model.safetensors', 'trainer_state.json']);
    expect(Object.keys(JSON.parse(readFileSync(join(run, 'checkpoint-3', 'checksums.json'), 'utf8')).files)).toEqual(['model.safetensors', 'trainer_state.json']);
    expect(hidden()).toEqual([]);
  });

  it('says how many bytes it wrote', async () => {
    const { path, bytes } = await writeCheckpoint(run, 1, async (folder) => { writeFileSync(join(folder, 'x'), 'abc'); return {}; });
    expect(bytes).toBe(3 + readFileSync(join(path, 'checksums.json')).byteLength);
    expect(await verifyCheckpoint(path)).toEqual({ step: 1, bytes: 3 });
  });

  it('replaces one of the same step', async () => {
    await save(5, 'old');
    await save(5, 'new');
    expect(JSON.parse(readFileSync(join(run, 'checkpoint-5', 'trainer_state.json'), 'utf8'))).toEqual({ content: 'new' });
    expect(await verifyCheckpoint(join(run, 'checkpoint-5'))).toMatchObject({ step: 5 });
    expect(hidden()).toEqual([]);
  });

  it('leaves nothing when the writer fails, and the older one untouched', async () => {
    await save(5);
    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    const attempt = writeCheckpoint(run, 6, async (folder) => { writeFileSync(join(folder, 'half'), 'x'); throw full; });
    await expect(attempt).rejects.toMatchObject({ code: 'E_DISK', message: expect.stringMatching(/checkpoint-6': no room is left on the disk/) });
    expect(readdirSync(run)).toEqual(['checkpoint-5']);
    await verifyCheckpoint(join(run, 'checkpoint-5'));
    await expect(writeCheckpoint(run, 6, async () => { throw new TypeError('a bug'); })).rejects.toThrow(TypeError);
    await expect(writeCheckpoint(run, 6, async () => ({ absent: 'ab' }))).rejects.toThrow(/'absent', which it did not write/);
    expect(readdirSync(run)).toEqual(['checkpoint-5']);
  });

  it('clears what dead processes left, and leaves alone what a running one writes', async () => {
    const alive = process.ppid;
    for (const name of [`.checkpoint-7.partial-${DEAD}`, `.checkpoint-8.removed-${DEAD}`, `.model.partial-${DEAD}`, `.checkpoint-9.partial-${alive}`]) {
      mkdirSync(join(run, name));
      writeFileSync(join(run, name, 'checksums.json'), '{}');
    }
    expect(steps()).toEqual([]);
    await save(1);
    expect(steps()).toEqual([1]);
    expect(hidden()).toEqual([`.checkpoint-9.partial-${alive}`]);
  });

  it('puts back what a dead process had moved aside to replace it', async () => {
    await save(5);
    renameSync(join(run, 'checkpoint-5'), join(run, `.checkpoint-5.old-${DEAD}`));
    expect(steps()).toEqual([5]);
    await verifyCheckpoint(join(run, 'checkpoint-5'));
  });
});

describe('verifyCheckpoint', () => {
  const damage: readonly (readonly [string, (path: string) => void, RegExp])[] = [
    ['a flipped bit', (path) => {
      const file = join(path, 'model.safetensors');
      const bytes = readFileSync(file);
      bytes.writeUInt8(bytes.readUInt8(500) ^ 1, 500);
      writeFileSync(file, bytes);
    }, /'model.safetensors' has the SHA-256 [0-9a-f]{64}; [0-9a-f]{64} was written/],
    ['a truncated file', (path) => truncateSync(join(path, 'model.safetensors'), 900), /'model.safetensors' has 900 bytes; 10\d\d were written/],
    ['a longer file', (path) => appendFileSync(join(path, 'trainer_state.json'), ' '), /'trainer_state.json' has/],
    ['a missing file', (path) => rmSync(join(path, 'trainer_state.json')), /'trainer_state.json' is missing/],
    ['no checksums', (path) => rmSync(join(path, 'checksums.json')), /checksums.json cannot be read/],
    ['broken checksums', (path) => truncateSync(join(path, 'checksums.json'), 50), /not valid JSON/],
    ['checksums of nothing', (path) => writeFileSync(join(path, 'checksums.json'), '{"version":1,"step":20,"files":{}}'), /does not list/],
    ['checksums of another step', (path) => writeFileSync(join(path, 'checksums.json'), readFileSync(join(path, 'checksums.json'), 'utf8').replace('"step": 20', '"step": 21')), /belongs to step 21/],
    ['checksums that reach outside', (path) => writeFileSync(join(path, 'checksums.json'), '{"version":1,"step":20,"files":{"../x":{"bytes":1,"sha256":"00"}}}'), /does not list/],
  ];
  it.each(damage)('refuses %s, and offers the checkpoint before', async (_, spoil, message) => {
    await save(10);
    await save(20);
    spoil(join(run, 'checkpoint-20'));
    await expect(verifyCheckpoint(join(run, 'checkpoint-20'))).rejects.toMatchObject({ code: 'E_CHECKPOINT', message: expect.stringMatching(message) });
    await expect(newestCheckpoint(run, { verify: true })).rejects.toMatchObject({
      code: 'E_CHECKPOINT', where: join(run, 'checkpoint-20'),
      remedy: `Go on from the one before it: fulltune resume ${run} --resume-from-checkpoint checkpoint-10`,
    });
    expect(await namedCheckpoint(run, 'checkpoint-10')).toMatchObject({ step: 10 });
    await expect(namedCheckpoint(run, 'checkpoint-20')).rejects.toThrow(message);
    await discardCheckpointsAfter(run, 10);
    expect(await newestCheckpoint(run, { verify: true })).toMatchObject({ step: 10 });
  });

  it('offers none that is damaged too', async () => {
    for (const step of [10, 20, 30]) await save(step);
    for (const step of [20, 30]) truncateSync(join(run, `checkpoint-${step}`, 'model.safetensors'), 5);
    await expect(newestCheckpoint(run, { verify: true })).rejects.toMatchObject({ remedy: expect.stringMatching(/checkpoint-10$/) });
    truncateSync(join(run, 'checkpoint-10', 'model.safetensors'), 5);
    await expect(newestCheckpoint(run, { verify: true })).rejects.toMatchObject({ remedy: expect.stringMatching(/no other sound checkpoint/) });
    expect(await newestCheckpoint(run, { verify: false })).toMatchObject({ step: 30 });
  });

  it('finds none in a fresh run, and names what there is', async () => {
    expect(await newestCheckpoint(run, { verify: true })).toBeUndefined();
    await save(4);
    await expect(namedCheckpoint(run, 'checkpoint-5')).rejects.toThrow(/has no 'checkpoint-5'; it has checkpoint-4/);
    await expect(newestCheckpoint(join(run, 'none'), { verify: true })).rejects.toThrow(FulltuneError);
  });
});

describe('rotateCheckpoints', () => {
  it('keeps the newest ones and what is protected', async () => {
    for (const step of [1, 2, 3, 4, 5]) await save(step);
    const removed = await rotateCheckpoints(run, 2, { protect: [2] });
    expect(removed.map(({ path }) => basename(path))).toEqual(['checkpoint-1', 'checkpoint-3']);
    expect(steps()).toEqual([2, 4, 5]);
    await rotateCheckpoints(run, 0);
    expect(steps()).toEqual([5]);
    expect(hidden()).toEqual([]);
  });

  it('counts complete checkpoints only', async () => {
    for (const step of [1, 2]) await save(step);
    mkdirSync(join(run, 'checkpoint-9'));
    await rotateCheckpoints(run, 1);
    expect(steps()).toEqual([2]);
    expect(existsSync(join(run, 'checkpoint-9'))).toBe(true);
  });
});

describe('finishModel', () => {
  it('writes model/ and replaces an older one', async () => {
    for (const content of ['old', 'new']) {
      const path = await finishModel(run, async (folder) => writeFileSync(join(folder, 'config.json'), content));
      expect(path).toBe(join(run, 'model'));
      expect(readFileSync(join(path, 'config.json'), 'utf8')).toBe(content);
    }
    expect(readdirSync(run)).toEqual(['model']);
    await expect(finishModel(run, async () => { throw new Error('no'); })).rejects.toThrow('no');
    expect(readFileSync(join(run, 'model', 'config.json'), 'utf8')).toBe('new');
    expect(readdirSync(run)).toEqual(['model']);
  });
});
