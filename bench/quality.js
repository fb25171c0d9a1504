/**
 * What changes the numbers must not change what is learned: stories260K on tinyshakespeare, held-out loss before and after, three seeds each.
 * Words: [updates] [seeds]. Goal: the improvement within 5 % of that of f32 AdamW, which must be 30 % or more. Needs the folder ../shared (models,
 * datasets) beside the checkout.
 */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadModel, train } from '../dist/index.js';
import { record } from './support/report.js';

export const title = 'held-out loss after training with what changes the numbers';

const SETTINGS = {
  'f32 AdamW': {},
  '8-bit AdamW': { optim: 'adamw_8bit', optim_8bit_embeddings: true },
  Adafactor: { optim: 'adafactor' },
  bf16: { bf16: true },
  'bf16 weights': { bf16_weights: true },
  fp16: { fp16: true },
};

/** @param {import('./support/options.js').Options} options */
export async function run({ words }) {
  const [steps = 300, seeds = 3] = words.map(Number);
  const folder = mkdtempSync(join(tmpdir(), 'fulltune-quality-'));
  const model = '../shared/models/stories260K';
  const text = readFileSync('../shared/datasets/tinyshakespeare.txt', 'utf8');
  const cut = Math.floor(text.length * 0.97);
  const [dataset, heldOut] = [join(folder, 'train.txt'), join(folder, 'held-out.txt')];
  writeFileSync(dataset, text.slice(0, cut));
  writeFileSync(heldOut, text.slice(cut));

  const before = await heldOutLoss(model, heldOut);
  let reference;
  for (const [name, changes] of Object.entries(SETTINGS)) {
    const losses = [];
    for (let seed = 1; seed <= seeds; seed++) {
      const run = train({
        model, dataset, output_dir: join(folder, `${name.replaceAll(' ', '-')}-${seed}`), max_length: 256, train_batch_size: 8, max_steps: steps, learning_rate: 2e-3, lr_scheduler_type: 'cosine',
        warmup_steps: 10, seed, save_dtype: 'float32', save_total_limit: 1, ...changes,
      });
      const { modelPath, runDirectory } = await run.result;
      losses.push(await heldOutLoss(modelPath, heldOut));
      rmSync(runDirectory, { recursive: true });
    }
    const after = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
    const improvement = before - after;
    reference ??= improvement;
    const line = record('quality', { name, steps, before, losses, improvementShare: improvement / before, ofReference: improvement / reference });
    console.log(`${name.padEnd(14)} ${before.toFixed(4)} → ${after.toFixed(4)} (${losses.map((loss) => loss.toFixed(4)).join(' ')}), ${(100 * line.improvementShare).toFixed(1)} % lower, ${(100 * line.ofReference).toFixed(1)} % of f32's improvement`);
  }
  rmSync(folder, { recursive: true });
}

async function heldOutLoss(path, heldOut) {
  const opened = await loadModel(path);
  try {
    return (await opened.evaluate({ dataset: heldOut, maxLength: 256 })).loss;
  } finally {
    await opened[Symbol.asyncDispose]?.();
  }
}
