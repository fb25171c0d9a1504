/** Every trainer: rows per update are kept, only published keys are written, and no setting goes without a word. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { CONFIG_KEYS, type ConfigKey } from '../../run/config-schema.ts';
import type { RunConfig } from '../../run/run-config.ts';
import type { TorchPlan } from '../../run/torch-plan.ts';
import { plainPlan, type TrainingPlan } from '../../run/training-plan.ts';
import { exportPlan, type Exported, type ExportOptions } from './export-run.ts';
import { DISTRIBUTED } from './exported-run.ts';
import { DECIDED_BY_PLAN } from './trainer.ts';
import { TRAINER_NAMES } from './trainer-names.ts';
import { TRAINERS } from './trainers.ts';

const folder = mkdtempSync(join(tmpdir(), 'fulltune-export-'));
afterAll(() => rmSync(folder, { recursive: true }));
const chat = join(folder, 'chat.jsonl');
writeFileSync(chat, '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n');

const CONFIG: Partial<RunConfig> = { model: 'models/Llama-3.1-8B', dataset: chat, max_steps: 100 };
const CPU: TrainingPlan = { ...plainPlan({ rowLength: 512 }), batch: { rowsPerUpdate: 8, microBatchSize: 4, accumulationSteps: 2 } };
const GPU: TorchPlan = {
  version: 1, engine: 'torch', worldSize: 8, ranksPerNode: 8, packing: { packed: true, rowLengths: [8192] },
  batch: { rowsPerUpdate: 64, microBatchSize: 2, accumulationSteps: 4 }, precision: 'bf16', loss: { kind: 'chunked', tokens: 4096 },
  optimizer: { kind: 'adamw', beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 }, recompute: { kind: 'selective' }, update: 'after-backward',
  sharding: 'fsdp', cpuOffload: false, attention: 'sdpa', compile: false, maxGradNorm: 1, frozen: [], seed: 42,
};

function exported(plan: TrainingPlan | TorchPlan, config: Partial<RunConfig>, options: ExportOptions): Exported {
  return exportPlan(plan, { ...CONFIG, ...config }, options);
}

/** Everything that a user gets to see. */
function shown({ text, untranslated, elsewhere, sideFiles, command }: Exported): string {
  return JSON.stringify([text, untranslated, elsewhere, sideFiles, command]);
}

describe.each(TRAINER_NAMES)('export to %s', (to) => {
  it('keeps rows per update for every number of ranks that they can be shared among', () => {
    for (const plan of [CPU, GPU, { ...CPU, batch: { rowsPerUpdate: 8, microBatchSize: 3, accumulationSteps: 3 } }, { ...CPU, batch: { rowsPerUpdate: 12, microBatchSize: 12, accumulationSteps: 1 } }]) {
      for (const ranksPerNode of [1, 2, 4, 8]) {
        for (const nodes of [1, 2]) {
          const rows = plan.batch.rowsPerUpdate;
          const run = (): Exported => exported(plan, {}, { to, ranksPerNode, nodes });
          if (rows % (ranksPerNode * nodes) !== 0) {
            expect(run).toThrow(`${rows} rows per update cannot be shared equally among ${ranksPerNode * nodes} ranks`);
            continue;
          }
          const { batch } = run();
          expect(batch).toMatchObject({ rowsPerUpdate: rows, ranks: ranksPerNode * nodes });
          expect(batch.microBatchSize * batch.accumulationSteps * batch.ranks).toBe(rows);
          expect(batch.microBatchSize).toBeLessThanOrEqual(plan.batch.microBatchSize);
        }
      }
    }
  });

  it('writes published keys only', () => {
    const plans: readonly (TrainingPlan | TorchPlan)[] = [CPU, GPU, { ...GPU, cpuOffload: true, compile: true, precision: 'f16', recompute: { kind: 'none' } }, { ...CPU, precision: { activations: 'bf16', weights: 'bf16' }, offload: { optimizerState: true, activationLayers: 2 } }];
    for (const plan of plans) {
      for (const distributed of [undefined, ...DISTRIBUTED.slice(1)]) {
        const sheet = keysOf(exported(plan, {
          eval_fraction: 0.1, eval_steps: 5, save_steps: 5, load_best_model_at_end: true, early_stopping_patience: 2, warmup_ratio: 0.1, shuffle: false, overlong: 'split', chat_template: 'chatml',
        }, { to, distributed }), to);
        expect(sheet.filter((key) => !TRAINERS[to].keys.has(key)), `${distributed}`).toEqual([]);
      }
    }
  });

  /** A value of each setting that is not the default, with the plan that it makes. */
  const samples: Readonly<Record<Exclude<ConfigKey, keyof typeof DECIDED_BY_PLAN>, RunConfig[ConfigKey]>> = {
    model: 'other', dataset: join(folder, 'other.jsonl'), eval_dataset: 'eval.jsonl', eval_fraction: 0.1, output_dir: 'out', overlong: 'error', shuffle: false,
    train_on_inputs: true, chat_template: 'mine.jinja', memory: '8GiB', allow: ['bf16'], learning_rate: 3e-4, lr_scheduler_type: 'cosine', warmup_steps: 7, warmup_ratio: 0.25,
    num_train_epochs: 5, max_steps: 77, logging_steps: 13, eval_steps: 9, load_best_model_at_end: true, early_stopping_patience: 4, save_steps: 11, save_total_limit: 6,
    save_dtype: 'float16', device: 'cpu', threads: 3, engine: 'torch', python: 'python3.12', nproc_per_node: 4, nnodes: 2, rdzv_endpoint: 'node0:29500', rank_timeout: 60,
  };
  const needsEvaluation = ['eval_steps', 'load_best_model_at_end', 'early_stopping_patience'];

  it.each(Object.entries(samples).filter(([key]) => key !== 'allow' && key !== 'engine'))('says what becomes of %s %j', (key, value) => {
    const base = needsEvaluation.includes(key) ? { eval_fraction: 0.1 } : {};
    expect(shown(exported(CPU, { ...base, [key]: value }, { to, totalSteps: 100 }))).not.toBe(shown(exported(CPU, base, { to, totalSteps: 100 })));
  });

  it('covers every setting', () => {
    expect([...Object.keys(samples), ...Object.keys(DECIDED_BY_PLAN)].toSorted()).toEqual([...CONFIG_KEYS].toSorted());
  });

  const changes: readonly (readonly [part: string, change: Partial<TorchPlan>])[] = [
    ['packing', { packing: { packed: false, rowLengths: [8192] } }], ['row length', { packing: { packed: true, rowLengths: [4096] } }],
    ['micro-batch', { batch: { rowsPerUpdate: 64, microBatchSize: 1, accumulationSteps: 8 } }],
    ...(['f32', 'f16', 'bf16-weights'] as const).map((precision) => [precision, { precision }] as const),
    ['loss', { loss: { kind: 'whole' } }],
    ['weight decay', { optimizer: { kind: 'adamw', beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.2 } }], ['beta2', { optimizer: { kind: 'adamw', beta1: 0.9, beta2: 0.96, epsilon: 1e-8, weightDecay: 0.1 } }],
    ['adamw_8bit', { optimizer: { kind: 'adamw_8bit', beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, embeddings: false } }],
    ['adamw_4bit', { optimizer: { kind: 'adamw_4bit', beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 } }],
    ['adafactor', { optimizer: { kind: 'adafactor', beta1: 0, weightDecay: 0.1 } }], ['lion', { optimizer: { kind: 'lion', beta1: 0.9, beta2: 0.95, weightDecay: 0.1 } }],
    ['sgd', { optimizer: { kind: 'sgd', momentum: 0.9, weightDecay: 0.1 } }],
    ['no recompute', { recompute: { kind: 'none' } }], ['recompute of layers', { recompute: { kind: 'layers', layers: 4 } }], ['update', { update: 'in-backward' }],
    ['zero2', { sharding: 'zero2' }], ['ddp', { sharding: 'ddp' }], ['host memory', { cpuOffload: true }], ['attention', { attention: 'flex' }], ['compile', { compile: true }],
    ['clipping', { maxGradNorm: 0.5 }], ['frozen', { frozen: ['model.embed_tokens.weight'] }], ['seed', { seed: 7 }],
  ];
  it.each(changes)('says what becomes of the plan: %s', (_part, change) => {
    expect(shown(exported({ ...GPU, ...change }, {}, { to }))).not.toBe(shown(exported(GPU, {}, { to })));
  });

  it.each([['offload of state', { optimizerState: true, activationLayers: 0 }], ['offload of activations', { optimizerState: false, activationLayers: 2 }]])('says what becomes of %s', (_name, offload) => {
    expect(shown(exported({ ...CPU, offload }, {}, { to }))).not.toBe(shown(exported(CPU, {}, { to })));
  });

  it('says that a finer recompute is not to be had', () => {
    const { untranslated } = exported({ ...CPU, recompute: { dropped: [{ value: 'mlp/swiglu', layers: 3 }] } }, {}, { to });
    expect(untranslated.some(({ setting }) => setting.startsWith('recompute'))).toBe(true);
    expect(untranslated.every(({ setting, reason, instead }) => setting !== '' && reason !== '' && /[.)]$/.test(instead))).toBe(true);
  });
});

/** Keys of the written file, sections with a dot where the table has them so. */
function keysOf({ text }: Exported, to: keyof typeof TRAINERS): readonly string[] {
  if (to === 'deepspeed') return leaves(JSON.parse(text) as Readonly<Record<string, unknown>>, '');
  if (to === 'torchtitan') {
    let section = '';
    return text.split('\n').flatMap((line) => {
      section = /^\[(\w+)\]$/.exec(line)?.[1] ?? section;
      const key = /^(\w+) = /.exec(line)?.[1];
      return key === undefined ? [] : [`${section}.${key}`];
    });
  }
  return text.split('\n').flatMap((line) => /^(\w+):/.exec(line)?.[1] ?? []);
}

function leaves(value: Readonly<Record<string, unknown>>, path: string): readonly string[] {
  return Object.entries(value).flatMap(([key, inner]) => (key !== 'params' && typeof inner === 'object' && inner !== null && !Array.isArray(inner) ? leaves(inner as Readonly<Record<string, unknown>>, `${path}${key}.`) : [`${path}${key}`]));
}

describe('mistakes', () => {
  it.each<readonly [string, TrainingPlan | TorchPlan, Partial<RunConfig>, Partial<ExportOptions>, string]>([
    ['a setting that the plan contradicts', CPU, { train_batch_size: 16 }, {}, 'the settings say train_batch_size 16, and the plan has 8'],
    ['another precision', CPU, { bf16: true }, {}, 'the settings say bf16 true, and the plan has f32'],
    ['another optimizer', CPU, { optim: 'sgd' }, {}, 'the settings say optim sgd, and the plan has adamw'],
    ['shorter rows', CPU, { max_length: 128 }, {}, 'the settings say max_length 128, and the plan has 512'],
    ['frozen parameters', CPU, { freeze: ['a*'] }, {}, 'the settings say freeze a*'],
    ['one rank for many', GPU, {}, { distributed: 'none' }, '--distributed none means one rank; there are 8'],
    ['an unknown trainer', CPU, {}, { to: 'trll' as 'trl' }, "--to 'trll' is no trainer"],
  ])('%s', (_name, plan, config, options, message) => {
    expect(() => exported(plan, config, { to: 'trl', ...options })).toThrow(message);
  });

  it('name what is missing', () => {
    expect(() => exportPlan(CPU, {}, { to: 'trl' })).toThrow('a config of TRL names the model');
    expect(() => exportPlan(CPU, { model: 'm' }, { to: 'axolotl' })).toThrow('a config of axolotl names the dataset');
    expect(() => exportPlan(CPU, { model: 'm' }, { to: 'torchtitan' })).toThrow('torchtitan counts steps');
    expect(exportPlan(CPU, {}, { to: 'deepspeed' }).text).toContain('"train_batch_size": 8');
    expect(exportPlan(CPU, {}, { to: 'accelerate' }).text).toContain('distributed_type: "NO"');
  });
});

describe('accelerate', () => {
  it.each([
    ['one GPU', CPU, {}, ['distributed_type: "NO"', 'num_processes: 1']],
    ['many', CPU, { ranksPerNode: 4 }, ['distributed_type: MULTI_GPU', 'num_processes: 4']],
    ['many nodes', CPU, { ranksPerNode: 4, nodes: 2 }, ['distributed_type: MULTI_GPU', 'num_processes: 8', 'num_machines: 2', 'main_process_port: 29500']],
    ['FSDP2', GPU, {}, ['distributed_type: FSDP', 'fsdp_version: 2', 'fsdp_reshard_after_forward: true', 'mixed_precision: bf16']],
    ['DeepSpeed', GPU, { distributed: 'deepspeed' }, ['distributed_type: DEEPSPEED', 'zero_stage: 3', 'gradient_accumulation_steps: 4']],
    ['TPU', CPU, { ranksPerNode: 4, distributed: 'tpu' }, ['distributed_type: XLA', 'num_processes: 4', 'downcast_bf16: "no"']],
  ] as const)('%s', (_name, plan, options, lines) => {
    const { text } = exported(plan, {}, { to: 'accelerate', ...options });
    for (const line of lines) expect(text).toContain(line);
  });
});

describe('four-bit AdamW', () => {
  const plan: TorchPlan = { ...GPU, optimizer: { kind: 'adamw_4bit', beta1: 0.9, beta2: 0.95, epsilon: 1e-6, weightDecay: 0.1 } };
  it.each([['trl', 'optim'], ['axolotl', 'optimizer'], ['llama-factory', 'optim']] as const)('is that of torchao in %s, with blocks of 128', (to, key) => {
    const run = exported(plan, {}, { to });
    for (const line of [`${key}: adamw_torch_4bit\n`, 'optim_args: block_size=128\n', 'adam_beta2: 0.95\n', 'adam_epsilon: 0.000001\n']) expect(run.text).toContain(line);
    expect(keysOf(run, to).filter((name) => !TRAINERS[to].keys.has(name))).toEqual([]);
    expect(run.untranslated.find(({ setting }) => setting === 'optim adamw_4bit')?.instead).toContain('pip install torchao');
  });

  it.each([['deepspeed', 'pass it to deepspeed.initialize'], ['torchtitan', 'It uses AdamW: 8 bytes']] as const)('is not translated for %s', (to, instead) => {
    expect(exported(plan, {}, { to }).untranslated.find(({ setting }) => setting === 'optim adamw_4bit')?.instead).toContain(instead);
  });

  it('goes into the script that accelerate launches, and must be what the settings say', () => {
    expect(exported(plan, {}, { to: 'accelerate' }).elsewhere.join('; ')).toContain('optim adamw_4bit (beta1 0.9');
    expect(exported(plan, { optim: 'adamw_torch_4bit' }, { to: 'accelerate' }).trainer).toBe('accelerate');
    expect(() => exported(plan, { optim: 'adamw_8bit' }, { to: 'trl' })).toThrow('the settings say optim adamw_8bit, and the plan has adamw_4bit');
  });
});

describe('axolotl', () => {
  it('freezes what the plan freezes, by the one pattern of what is not', () => {
    const { text } = exported({ ...CPU, frozen: ['model.embed_tokens.weight', 'lm_head.weight'] }, { freeze: ['model.embed*', 'lm_head.weight'] }, { to: 'axolotl' });
    const pattern = /unfrozen_parameters:\n {2}- (.*)\n/.exec(text)?.[1]?.replace(/^"(.*)"$/, '$1').replaceAll('\\\\', '\\') ?? '';
    // As axolotl/utils/freeze.py reads a pattern: a dot that no plus follows is a dot, and re.match begins at the start.
    const trains = (name: string): boolean => new RegExp(`^(?:${pattern.replace(/\.(?!\+)/g, '\\.')})`).test(name);
    expect(['model.embed_tokens.weight', 'lm_head.weight'].filter(trains)).toEqual([]);
    expect(['model.layers.0.mlp.up_proj.weight', 'model.norm.weight', 'lm_headXweight', 'model.embedding'].filter(trains)).toEqual(['model.layers.0.mlp.up_proj.weight', 'model.norm.weight', 'lm_headXweight']);
  });
});
