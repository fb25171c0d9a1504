/**
 * Exports plans to every trainer, and lets the trainers' own classes load what was written (tools/exports/check_exports.py):
 *
 *     node tools/check-exports.js .venv/bin/python [DIR]      DIR: axolotl, llamafactory and torchtitan, pip install --no-deps --target DIR
 *
 * Also reads TRL's and LLaMA-Factory's files back with `importConfig`: rows per update, lengths and rates come back as they went.
 */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exportPlan, importConfig, TRAINER_NAMES } from '../dist/index.js';
import { TRAINERS } from '../dist/torch/export/trainers.js';
import { plainPlan } from '../dist/run/training-plan.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const [given, packages] = process.argv.slice(2);
if (given === undefined) throw new Error('give the path of a Python that has transformers, trl and accelerate');

// It is started in another folder.
const python = given.includes('/') ? resolve(given) : given;

const folder = mkdtempSync(join(tmpdir(), 'fulltune-exports-'));
const dataset = join(folder, 'chat.jsonl');
writeFileSync(dataset, '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n');

const adamw = { kind: 'adamw', beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 };
const cpu = { ...plainPlan({ rowLength: 512 }), batch: { rowsPerUpdate: 8, microBatchSize: 3, accumulationSteps: 3 }, optimizer: adamw };
const gpu = {
  version: 1, engine: 'torch', worldSize: 8, ranksPerNode: 8, packing: { packed: true, rowLengths: [8192] }, batch: { rowsPerUpdate: 64, microBatchSize: 2, accumulationSteps: 4 },
  precision: 'bf16', loss: { kind: 'chunked', tokens: 4096 }, optimizer: adamw, recompute: { kind: 'layers', layers: 32 }, update: 'after-backward', sharding: 'fsdp',
  cpuOffload: false, attention: 'sdpa', compile: false, maxGradNorm: 1, frozen: [], seed: 42,
};
const config = { model: 'models/llama', dataset, learning_rate: 3e-5, lr_scheduler_type: 'cosine', warmup_steps: 10, max_steps: 200, save_steps: 50, logging_steps: 5, eval_fraction: 0.1, eval_steps: 50 };
/** What accelerate and DeepSpeed call each case. */
const runs = [
  { name: 'one', plan: cpu, options: {}, nodes: 1, distributedType: 'NO', zeroStage: 0 },
  { name: 'one-unpacked-8bit', plan: { ...cpu, packing: { packed: false, rowLengths: [128, 512] }, optimizer: { ...adamw, kind: 'adamw_8bit', embeddings: false } }, options: {}, nodes: 1, distributedType: 'NO', zeroStage: 0 },
  { name: 'many', plan: cpu, options: { ranksPerNode: 4 }, nodes: 1, distributedType: 'MULTI_GPU', zeroStage: 2 },
  { name: 'nodes', plan: cpu, options: { ranksPerNode: 4, nodes: 2 }, nodes: 2, distributedType: 'MULTI_GPU', zeroStage: 2 },
  { name: 'fsdp', plan: gpu, options: {}, nodes: 1, distributedType: 'FSDP', zeroStage: 3 },
  { name: 'zero2', plan: { ...gpu, sharding: 'zero2', precision: 'f32' }, options: {}, nodes: 1, distributedType: 'FSDP', zeroStage: 2 },
  { name: 'zero2-4bit', plan: { ...gpu, sharding: 'zero2', precision: 'f32', optimizer: { ...adamw, kind: 'adamw_4bit' } }, options: {}, nodes: 1, distributedType: 'FSDP', zeroStage: 2 },
  { name: 'deepspeed', plan: { ...gpu, cpuOffload: true }, options: { distributed: 'deepspeed' }, nodes: 1, distributedType: 'DEEPSPEED', zeroStage: 3 },
  { name: 'tpu', plan: { ...cpu, precision: { activations: 'bf16', weights: 'f32' } }, options: { ranksPerNode: 4, distributed: 'tpu' }, nodes: 1, distributedType: 'XLA', zeroStage: 2 },
];

const cases = [];
let failures = 0;
try {
  for (const { name, plan, options, ...expected } of runs) {
    for (const trainer of TRAINER_NAMES) {
      const file = `${trainer}-${name}.${TRAINERS[trainer].format}`;
      const { text, batch } = await exportPlan(plan, config, { to: trainer, ...options, folder });
      writeFileSync(join(folder, file), text);
      const expect = {
        learning_rate: 3e-5, lr_scheduler_type: 'cosine', warmup_steps: 10, max_steps: 200, save_steps: 50, logging_steps: 5, weight_decay: 0.1, adam_beta2: 0.95, adam_epsilon: 1e-8,
        max_grad_norm: 1, seed: 42, bf16: ['fsdp', 'deepspeed', 'tpu'].includes(name), fp16: false, optim: name.includes('8bit') ? 'adamw_bnb_8bit' : name.includes('4bit') ? 'adamw_torch_4bit' : 'adamw_torch_fused', eval_strategy: 'steps', eval_steps: 50,
      };
      cases.push({ file, trainer, model: config.model, dataset, ranks: batch.ranks, rowsPerUpdate: plan.batch.rowsPerUpdate, expect, ...expected });
      if (['trl', 'axolotl', 'llama-factory'].includes(trainer)) await readBack(trainer, file, plan, batch);
    }
  }
  writeFileSync(join(folder, 'cases.json'), JSON.stringify(cases));
  writeFileSync(join(folder, 'keys.json'), JSON.stringify(Object.fromEntries(TRAINER_NAMES.map((name) => [name, [...TRAINERS[name].keys]]))));
  const words = [join(root, 'tools', 'exports', 'check_exports.py'), folder, ...(packages === undefined ? [] : ['--packages', packages])];
  const { status, error } = spawnSync(python, words, { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'] });
  if (error !== undefined) throw error;
  if (failures > 0) throw new Error(`${failures} configs do not come back as they went`);
  if (status !== 0) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function readBack(/** @type {string} */ trainer, /** @type {string} */ file, plan, { ranks }) {
  const { format, config: back } = await importConfig(join(folder, file), { ranks });
  const rows = back.train_batch_size ?? back.per_device_train_batch_size * back.gradient_accumulation_steps;
  const want = { rows: plan.batch.rowsPerUpdate, max_length: plan.packing.rowLengths.at(-1), packing: plan.packing.packed, learning_rate: 3e-5, warmup_steps: 10, adam_beta2: 0.95 };
  const have = { rows, max_length: back.max_length, packing: back.packing, learning_rate: back.learning_rate, warmup_steps: back.warmup_steps, adam_beta2: back.adam_beta2 };
  if (format !== trainer || JSON.stringify(want) !== JSON.stringify(have)) {
    failures++;
    console.log(`FAILED ${file}: read back as ${format} ${JSON.stringify(have)}, written ${JSON.stringify(want)}`);
  }
}
