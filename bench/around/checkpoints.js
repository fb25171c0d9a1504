/**
 * Saving and loading a checkpoint of SmolLM2's shape with 8 layers (weights and AdamW's state, hashed and synced), beside what the disk does with as many
 * bytes in one file, in turns. What the system still holds in memory is read from there by both.
 */

import { closeSync, fsyncSync, mkdirSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { compile } from '../../dist/compile/compile.js';
import { createCpuDevice } from '../../dist/devices/cpu/cpu-device.js';
import { verifyCheckpoint, writeCheckpoint } from '../../dist/files/checkpoint.js';
import { initModel } from '../../dist/index.js';
import { plainPlan } from '../../dist/run/training-plan.js';
import { openModelDirectory } from '../../dist/train/model-directory.js';
import { TrainingState } from '../../dist/train/training-state.js';
import { readOptimizerState, readWeights, writeOptimizerState, writeWeights } from '../../dist/train/weights.js';
import { rateLine } from '../support/lines.js';
import { inTurns } from '../support/rounds.js';
import { SMOLLM2 } from '../support/step-shapes.js';

const PIECE = Buffer.alloc(8 * 1024 * 1024, 1);

/** @param {import('../support/options.js').Options} options */
export async function checkpoints({ rounds }) {
  const scratch = mkdtempSync(join(process.env['BENCH_SCRATCH'] ?? tmpdir(), 'fulltune-checkpoints-'));
  let state;
  try {
    const like = join(scratch, 'like');
    mkdirSync(like);
    writeFileSync(join(like, 'config.json'), JSON.stringify({ ...SMOLLM2, num_hidden_layers: 8, torch_dtype: 'float32' }));
    const folder = join(scratch, 'model');
    await initModel({ directory: folder, like });
    const model = openModelDirectory(folder);
    const device = createCpuDevice();
    const compiled = compile({ model: model.config, plan: plainPlan({ rowLength: 64 }), device, purpose: 'train' });
    state = await TrainingState.create(device, compiled.memory, compiled.constants);
    await readWeights(state, folder, model.parameters);
    let bytes = 0;
    let step = 0;
    let saved;
    const plain = join(scratch, 'plain');
    const contestants = [
      timed('save', async () => {
        if (saved !== undefined) rmSync(saved, { recursive: true });
        ({ path: saved, bytes } = await writeCheckpoint(scratch, ++step, async (path) => {
          const weights = await writeWeights(state, path, model.parameters, () => 'f32');
          const optimizer = await writeOptimizerState(state, join(path, 'optimizer.safetensors'));
          return Object.fromEntries([...weights, optimizer].map((file) => [basename(file.path), file.sha256]));
        }));
      }),
      timed('disk, written and synced', async () => writePlain(plain, bytes)),
      timed('load', async () => {
        await readWeights(state, saved, model.parameters);
        await readOptimizerState(state, join(saved, 'optimizer.safetensors'));
      }),
      timed('verify', () => verifyCheckpoint(saved)),
      timed('disk, read', async () => readPlain(plain)),
    ];
    const times = (await inTurns(contestants, ['checkpoint'], rounds)).map(([ofRounds]) => ofRounds.map(({ ms }) => ms));
    return contestants.map(({ name }, who) => rateLine(`${name} (${(bytes / 2 ** 20).toFixed(0)} MiB)`, bytes / 1e9, 'GB/s', times[who]));
  } finally {
    state?.free();
    rmSync(scratch, { recursive: true, force: true });
  }
}

function timed(name, body) {
  return {
    name,
    async measure() {
      const started = performance.now();
      await body();
      return { ms: performance.now() - started };
    },
  };
}

function writePlain(path, bytes) {
  const file = openSync(path, 'w');
  for (let left = bytes; left > 0; left -= PIECE.length) writeSync(file, PIECE, 0, Math.min(left, PIECE.length));
  fsyncSync(file);
  closeSync(file);
}

function readPlain(path) {
  const into = Buffer.alloc(PIECE.length);
  const file = openSync(path, 'r');
  while (readSync(file, into) > 0);
  closeSync(file);
}
