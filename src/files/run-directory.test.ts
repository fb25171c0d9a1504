import { spawnSync } from 'node:child_process';
import { appendFileSync, chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import type { RunEvent, StepEvent } from '../run/events.ts';
import { plainPlan, type TrainingPlan } from '../run/training-plan.ts';
import { checkDiskSpace, freeDiskBytes } from './disk.ts';
import { appendEvent, readEvents, truncateEventsAfter } from './event-log.ts';
import { copyModelFiles } from './model-files.ts';
import { processIdentity } from './processes.ts';
import { checkOutputDirectory, createRunDirectory, openRun, writeRunFile } from './run-directory.ts';
import { lockRun } from './run-lock.ts';

let folder = '';
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'fulltune-run-')); });
afterEach(() => rmSync(folder, { recursive: true }));

const names = { model: 'org/Small-Model@main', dataset: 'data/my chats.jsonl' };

describe('createRunDirectory', () => {
  it('numbers runs by model and dataset', () => {
    const runsFolder = join(folder, 'runs');
    const create = (): string => createRunDirectory(undefined, names, { runsFolder }).path;
    expect(create()).toBe(join(runsFolder, 'Small-Model-my-chats-1'));
    expect(create()).toBe(join(runsFolder, 'Small-Model-my-chats-2'));
    mkdirSync(join(runsFolder, 'Small-Model-my-chats-9'));
    mkdirSync(join(runsFolder, 'Small-Model-my-chats-x'));
    expect(create()).toBe(join(runsFolder, 'Small-Model-my-chats-10'));
    expect(createRunDirectory(undefined, { model: '../..', dataset: '.txt' }, { runsFolder }).path).toBe(join(runsFolder, 'unnamed-txt-1'));
  });

  it('takes an absent or an empty folder', () => {
    createRunDirectory(join(folder, 'a', 'b'), names).lock.release();
    expect(readdirSync(join(folder, 'a', 'b'))).toEqual([]);
    createRunDirectory(join(folder, 'a', 'b'), names);
  });

  it('refuses another run, says how far it is and what to do, and writes nothing', () => {
    for (const name of ['config.yaml', 'events.jsonl', 'model', 'checkpoint-40']) {
      const path = join(folder, name, 'run');
      mkdirSync(join(path, name), { recursive: true });
      if (name === 'checkpoint-40') writeFileSync(join(path, name, 'checksums.json'), '');
      expect(() => createRunDirectory(path, names)).toThrow(expect.objectContaining({
        code: 'E_RUN',
        message: name === 'checkpoint-40' ? `'${path}' holds another run, trained to step 40` : `'${path}' holds another run`,
        remedy: expect.stringContaining(name === 'checkpoint-40' ? `fulltune resume ${path}, or use another --output-dir` : 'another --output-dir'),
      }));
      expect(readdirSync(path)).toEqual([name]);
    }
  });

  it('refuses a folder with other things, and a file', () => {
    writeFileSync(join(folder, 'thesis.tex'), '');
    expect(() => checkOutputDirectory(folder)).toThrow(/not empty and is no run: it has thesis.tex/);
    expect(() => createRunDirectory(join(folder, 'thesis.tex'), names)).toThrow(/is a file/);
    expect(() => createRunDirectory(join(folder, 'thesis.tex', 'x'), names)).toThrow(expect.objectContaining({ code: 'E_FILE' }));
    checkOutputDirectory(join(folder, 'none'));
    expect(existsSync(join(folder, 'none'))).toBe(false);
  });
});

describe('lockRun', () => {
  it('lets one in at a time', () => {
    const { lock } = createRunDirectory(join(folder, 'run'), names);
    expect(() => lockRun(join(folder, 'run'))).toThrow(expect.objectContaining({ code: 'E_RUN', message: expect.stringMatching(/in use: this very process/) }));
    expect(() => checkOutputDirectory(join(folder, 'run'))).toThrow(/in use/);
    lock.release();
    lock.release();
    const again = lockRun(join(folder, 'run'));
    expect(readdirSync(join(folder, 'run'))).toEqual(['.lock']);
    lock.release(); // the first holder's second release must not open the second one's lock
    expect(() => lockRun(join(folder, 'run'))).toThrow(/in use/);
    again.release();
  });

  it('sees another process, and takes over from one that ended', () => {
    writeFileSync(join(folder, '.lock'), JSON.stringify(processIdentity(process.ppid)));
    expect(() => lockRun(folder)).toThrow(new RegExp(`process ${process.ppid} is training there`));
    const ended = spawnSync(process.execPath, ['-e', '']).pid;
    writeFileSync(join(folder, '.lock'), JSON.stringify({ pid: ended, started: null }));
    lockRun(folder).release();
    writeFileSync(join(folder, '.lock'), ''); // after a power loss
    lockRun(folder).release();
    expect(readdirSync(folder)).toEqual([]);
  });

  it.runIf(process.platform === 'linux')('is not fooled by a process id used again', () => {
    writeFileSync(join(folder, '.lock'), JSON.stringify({ pid: process.ppid, started: 'another boot:17' }));
    lockRun(folder).release();
  });
});

function step(n: number): StepEvent {
  return {
    kind: 'step', step: n, epoch: 0, loss: 1 / 3 + n, gradientNorm: 1, learningRate: 1e-3, tokens: 1, trainedTokens: 1,
    stepMs: 1, tokensPerSecond: 1, mfu: 0.5, residentBytes: 1, etaSeconds: 1,
  };
}

describe('events', () => {
  const warning: RunEvent = { kind: 'warning', message: 'line\nbreak ✓' };

  it('reads what was appended, all digits', async () => {
    expect(await readEvents(folder)).toEqual([]);
    const events = [warning, step(1), step(2)];
    for (const event of events) appendEvent(folder, event);
    expect(await readEvents(folder)).toEqual(events);
  });

  it('takes a line torn anywhere as not written, for reading and for appending', async () => {
    for (const event of [warning, step(1)]) appendEvent(folder, event);
    const path = join(folder, 'events.jsonl');
    const one = statSync(path).size;
    appendEvent(folder, step(2));
    const two = statSync(path).size;
    for (let size = one; size < two; size += 7) {
      truncateSync(path, size);
      expect(await readEvents(folder)).toEqual([warning, step(1)]);
      appendEvent(folder, step(2));
      expect(await readEvents(folder)).toEqual([warning, step(1), step(2)]);
    }
    writeFileSync(path, 'x'.repeat(200_000));
    appendEvent(folder, step(3));
    expect(await readEvents(folder)).toEqual([step(3)]);
  });

  it('names a damaged line', async () => {
    for (const bad of ['{"kind":', '3', '{"kind":"party"}', '']) {
      writeFileSync(join(folder, 'events.jsonl'), `${JSON.stringify(step(1))}\n${bad}\n${JSON.stringify(step(2))}\n`);
      await expect(readEvents(folder)).rejects.toMatchObject({ code: 'E_RUN', message: expect.stringMatching(/^line 2 of/) });
    }
  });

  it('reads lines across chunk borders', async () => {
    const events = Array.from({ length: 3000 }, (_, i) => ({ kind: 'warning', message: '✓'.repeat(i % 500) }) satisfies RunEvent);
    writeFileSync(join(folder, 'events.jsonl'), events.map((event) => `${JSON.stringify(event)}\n`).join(''));
    expect(await readEvents(folder)).toEqual(events);
  });

  it('forgets what came after the step that a run goes on from', async () => {
    await truncateEventsAfter(folder, 3);
    const checkpoint: RunEvent = { kind: 'checkpoint', step: 2, path: 'checkpoint-2', bytes: 1, saveMs: 1 };
    const before = [step(1), step(2), checkpoint, warning];
    for (const event of [...before, step(3), warning, step(4)]) appendEvent(folder, event);
    appendFileSync(join(folder, 'events.jsonl'), '{"kind":"step","st');
    await truncateEventsAfter(folder, 2);
    expect(await readEvents(folder)).toEqual(before);
    appendEvent(folder, step(3));
    await truncateEventsAfter(folder, 99);
    expect(await readEvents(folder)).toEqual([...before, step(3)]);
    await truncateEventsAfter(folder, 0);
    expect(statSync(join(folder, 'events.jsonl')).size).toBe(0);
  });
});

describe('openRun', () => {
  const plan: TrainingPlan = {
    ...plainPlan({ rowLength: 64 }), batch: { rowsPerUpdate: 8, microBatchSize: 4, accumulationSteps: 2 },
    optimizer: { kind: 'sgd', momentum: 0.9, weightDecay: 0 },
  };

  it('reads config, plan and events', async () => {
    writeRunFile(folder, 'config.yaml', 'model: x # mine\n');
    writeRunFile(folder, 'plan.json', JSON.stringify(plan));
    appendEvent(folder, step(1));
    expect(await openRun(folder)).toEqual({ path: folder, configText: 'model: x # mine\n', plan, events: [step(1)] });
    writeRunFile(folder, 'config.yaml', 'new\n');
    expect(readFileSync(join(folder, 'config.yaml'), 'utf8')).toBe('new\n');
    expect(readdirSync(folder).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('refuses what is no run, or a damaged one', async () => {
    await expect(openRun(join(folder, 'none'))).rejects.toMatchObject({ code: 'E_RUN', message: expect.stringMatching(/there is no folder/) });
    await expect(openRun(folder)).rejects.toMatchObject({ code: 'E_RUN', message: expect.stringMatching(/no config.yaml/) });
    writeRunFile(folder, 'config.yaml', '');
    mkdirSync(join(folder, 'model'));
    await expect(openRun(join(folder, 'model'))).rejects.toMatchObject({ remedy: 'The run is the folder above it.' });
    await expect(openRun(folder)).rejects.toMatchObject({ code: 'E_RUN', message: 'the run has no plan.json' });
    for (const [text, message] of [['{', /not valid JSON/], ['3', /not a training plan/], ['{"version":3}', /version 3/], ['{"version":2}', /packing/], ['{"version":1}', /no 'packing'/]] as const) {
      writeRunFile(folder, 'plan.json', text);
      await expect(openRun(folder)).rejects.toMatchObject({ code: 'E_RUN', message: expect.stringMatching(message) });
    }
    expect(() => writeRunFile(folder, '../x', '')).toThrow(/plain file name/);
    expect(() => writeRunFile(join(folder, 'none'), 'x', '')).toThrow(expect.objectContaining({ code: 'E_FILE' }));
  });
});

describe('copyModelFiles', () => {
  it('copies what belongs to a model besides weights and config, byte for byte', async () => {
    const from = join(folder, 'from');
    const to = join(folder, 'to');
    mkdirSync(join(from, 'onnx'), { recursive: true });
    mkdirSync(to);
    const kept = ['LICENSE', 'README.md', 'chat_template.jinja', 'generation_config.json', 'merges.txt', 'tokenizer.json', 'tokenizer.model', 'tokenizer_config.json', 'vocab.json'];
    const left = ['.gitattributes', 'checksums.json', 'config.json', 'model.gguf', 'model.safetensors', 'model.safetensors.index.json', 'optimizer.pt', 'pytorch_model.bin', 'trainer_state.json'];
    for (const name of [...kept, ...left]) writeFileSync(join(from, name), Buffer.from(`${name}\r\n\xff`, 'latin1'));
    chmodSync(join(from, 'tokenizer.json'), 0o444);
    symlinkSync('/nowhere/at/all', join(from, 'dangling.json'));
    symlinkSync('vocab.json', join(from, 'same.json'));
    writeFileSync(join(from, 'huge.txt'), '');
    truncateSync(join(from, 'huge.txt'), 100_000_001);
    const { copied, skipped } = await copyModelFiles(from, to);
    expect([...copied].sort()).toEqual([...kept, 'same.json'].sort());
    expect(skipped).toEqual([expect.stringMatching(/huge.txt \(95.4 MiB\)/)]);
    expect(readdirSync(to).sort()).toEqual([...kept, 'same.json'].sort());
    for (const name of kept) expect(readFileSync(join(to, name)).equals(readFileSync(join(from, name)))).toBe(true);
    expect(statSync(join(to, 'tokenizer.json')).mode & 0o200).toBe(0o200);
  });

  it('follows the links of the Hugging Face cache, and no others', async () => {
    const snapshot = join(folder, 'models--org--name', 'snapshots', 'abcd');
    mkdirSync(snapshot, { recursive: true });
    mkdirSync(join(folder, 'models--org--name', 'blobs'));
    writeFileSync(join(folder, 'models--org--name', 'blobs', '0123'), 'content');
    symlinkSync('../../blobs/0123', join(snapshot, 'tokenizer.json'));
    mkdirSync(join(folder, 'to'));
    expect(await copyModelFiles(snapshot, join(folder, 'to'))).toEqual({ copied: ['tokenizer.json'], skipped: [] });
    writeFileSync(join(folder, 'secret'), 'key');
    symlinkSync('../../../secret', join(snapshot, 'notes.txt'));
    await expect(copyModelFiles(snapshot, join(folder, 'to'))).rejects.toMatchObject({ code: 'E_MODEL', message: expect.stringMatching(/notes.txt' is a link to/) });
    expect(readdirSync(join(folder, 'to'))).not.toContain('notes.txt');
  });
});

describe('checkDiskSpace', () => {
  it('compares with what is free, with the numbers', () => {
    const freeBytes = (): number => 2 * 2 ** 30;
    checkDiskSpace(folder, 2 * 2 ** 30, '2 checkpoints', { freeBytes });
    expect(() => checkDiskSpace(folder, 3 * 2 ** 30, '2 checkpoints', { freeBytes })).toThrow(expect.objectContaining({
      code: 'E_DISK', message: `2 checkpoints need 3.00 GiB on disk, but '${folder}' has room for 2.00 GiB`, remedy: expect.stringMatching(/^Free 1.00 GiB/),
    }));
  });

  it('reads the disk of a folder that does not exist yet', () => {
    expect(freeDiskBytes(join(folder, 'not', 'yet'))).toBeGreaterThan(0);
    expect(() => checkDiskSpace(join(folder, 'not', 'yet'), 1e18, 'everything')).toThrow(expect.objectContaining({ code: 'E_DISK' }));
  });
});
