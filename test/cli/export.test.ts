/** `fulltune export`, `fulltune plan --from`, and names of other trainers on the command line. */

import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { main } from '../../src/cli/main.ts';
import { recorder } from '../../src/cli/testing/recorder.ts';
import { FITS } from '../../src/cli/testing/sample-plan.ts';
import type { Engine } from '../../src/cli/verb.ts';
import type { PlanConfig, PlanResult } from '../../src/index.ts';
import { plainPlan } from '../../src/run/training-plan.ts';
import { exportPlan } from '../../src/torch/export/export-run.ts';
import { readPlanSource } from '../../src/torch/export/plan-source.ts';
import { importConfig } from '../../src/torch/import/import-config.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fulltune-export-cli-'));
  writeFileSync(join(folder, 'd.jsonl'), '{"text": "a"}\n');
  writeFileSync(join(folder, 'plan.json'), JSON.stringify({ kind: 'fits', totalSteps: 15, plan: { ...plainPlan({ rowLength: 512 }), batch: { rowsPerUpdate: 8, microBatchSize: 4, accumulationSteps: 2 } } }));
  writeFileSync(join(folder, 'run.yaml'), `model: m\ndataset: ${join(folder, 'd.jsonl')}\nlearning_rate: 3e-5\n`);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function run(line: string, plan: (config: PlanConfig) => PlanResult = () => FITS) {
  const terminal = recorder();
  const planned: PlanConfig[] = [];
  const engine = { exportPlan, readPlanSource, importConfig, plan: (config: PlanConfig) => Promise.resolve((planned.push(config), plan(config))) };
  const code = await main(line.split(' ').filter(Boolean), { terminal, loadEngine: () => Promise.resolve(engine as unknown as Engine) });
  return { code, out: terminal.out, err: terminal.err, planned };
}

describe('fulltune export', () => {
  it('writes the config to standard output, and the rest beside it', async () => {
    const { code, out, err } = await run(`export ${folder}/plan.json --to trl --config ${folder}/run.yaml`);
    expect(code).toBe(0);
    expect(out).toContain('learning_rate: 0.00003\n');
    expect(out).toMatch(/^# TRL 1\.16 .*\n# Not translated:\n/);
    expect(err).toContain('rows per update: 4 × 2 × 1 rank = 8, as in the plan\nrun it: trl sft --config trl.yaml\n');
  });

  it('writes into a file, with what belongs beside it', async () => {
    const { code, out, err } = await run(`export ${folder}/plan.json --to llama-factory --config ${folder}/run.yaml --out ${folder}/new/lf.yaml --learning-rate 1e-4`);
    expect([code, out]).toEqual([0, '']);
    expect(err).toContain(`written: ${folder}/new/lf.yaml, dataset_info.json`);
    expect(readFileSync(join(folder, 'new', 'lf.yaml'), 'utf8')).toContain('learning_rate: 0.0001');
    expect(JSON.parse(readFileSync(join(folder, 'new', 'dataset_info.json'), 'utf8'))).toEqual({ train: { file_name: join(folder, 'd.jsonl'), columns: { prompt: 'text' } } });
  });

  it('reads a run directory with its settings', async () => {
    mkdirSync(join(folder, 'run'));
    writeFileSync(join(folder, 'run', 'plan.json'), readFileSync(join(folder, 'plan.json')));
    writeFileSync(join(folder, 'run', 'config.yaml'), readFileSync(join(folder, 'run.yaml')));
    expect((await run(`export ${folder}/run --to axolotl`)).out).toContain('base_model: m\n');
  });

  it('gives everything as JSON', async () => {
    const { out } = await run(`export ${folder}/plan.json --to deepspeed --json --nproc-per-node 2`);
    expect(JSON.parse(out)).toMatchObject({ trainer: 'deepspeed', batch: { rowsPerUpdate: 8, microBatchSize: 4, accumulationSteps: 1, ranks: 2 } });
  });

  it.each([
    ['PLAN --to trll', "--to 'trll' is no trainer that fulltune exports to (--to)\n  Did you mean trl?"],
    ['PLAN', "required option '--to <trainer>' not specified"],
    ['PLAN --to trl', 'a config of TRL names the model and the dataset, and the plan does not (export)\n  Give --model and --dataset, or --config run.yaml.'],
    ['PLAN --to trl --config DIR/run.yaml --train-batch-size 9', 'the settings say train_batch_size 9, and the plan has 8'],
    ['PLAN --to trl --config DIR/run.yaml --nproc-per-node 3', '8 rows per update cannot be shared equally among 3 ranks (plan)\n  Plan with --train-batch-size 6 or 9'],
    ['PLAN --to trl --config DIR/run.yaml --distributed ddpp', 'Allowed choices are none, ddp, fsdp, deepspeed, tpu.'],
    ['PLAN --to trl --config DIR/run.yaml --out DIR', 'is a folder'],
    ['nowhere.json --to trl', "'nowhere.json' does not exist"],
    ['DIR/taken --to trl', 'is a folder without plan.json, so it is no run'],
    ['DIR/run.yaml --to trl', 'is not valid JSON'],
    ['DIR/small.json --to trl', 'does not fit the memory that it was made for'],
    ['DIR/torch.json --to trl', 'is not a plan for PyTorch: worldSize'],
    ['DIR/taken/x.yaml', "required option '--to <trainer>'"],
    ['PLAN --to llama-factory --config DIR/run.yaml --out DIR/taken/x.yaml', 'dataset_info.json\' is there already and says something else'],
  ])('refuses %s with exit code 2, and writes nothing', async (words, message) => {
    writeFileSync(join(folder, 'small.json'), '{"kind": "too-small", "plan": {}}');
    writeFileSync(join(folder, 'torch.json'), '{"engine": "torch", "version": 1}');
    mkdirSync(join(folder, 'taken'));
    writeFileSync(join(folder, 'taken', 'dataset_info.json'), '{}');
    const before = readdirSync(folder, { recursive: true });
    const { code, err, out } = await run(`export ${words.replace('PLAN', join(folder, 'plan.json')).replaceAll('DIR', folder)}`);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain(message);
    expect(readdirSync(folder, { recursive: true })).toEqual(before);
    expect(existsSync(join(folder, 'taken', 'x.yaml'))).toBe(false);
  });
});

describe('fulltune plan --from', () => {
  beforeEach(() => writeFileSync(join(folder, 'theirs.yaml'), `base_model: m\ndatasets:\n  - path: ${join(folder, 'd.jsonl')}\n    type: completion\nsequence_len: 512\nmicro_batch_size: 2\ngradient_accumulation_steps: 4\nadapter: lora\n`));

  it('says what became of each key, plans it, and plans it again with the choices free', async () => {
    const faster: PlanResult = { ...FITS, stepMs: 1000, memory: { ...FITS.memory, forecastBytes: 200 * 1024 * 1024 } };
    const { code, out, planned } = await run(`plan --from ${folder}/theirs.yaml --seed 7`, (config) => (config.gradient_accumulation_steps === undefined ? faster : FITS));
    expect(code).toBe(0);
    expect(out).toMatch(/theirs\.yaml is a config of axolotl\ntranslated:\n/);
    expect(out).toMatch(/adapter lora +an adapter; fulltune trains every parameter/);
    expect(out).toMatch(/as written +244\.0 MiB +1520 ms.*\n +chosen +200\.0 MiB +1000 ms/);
    expect(out).toContain('set train_batch_size 8.');
    expect(planned).toHaveLength(2);
    expect(planned[0]).toMatchObject({ model: 'm', max_length: 512, per_device_train_batch_size: 2, gradient_accumulation_steps: 4, num_train_epochs: 1, seed: 7 });
    expect(planned[1]).toMatchObject({ train_batch_size: 8, max_length: 512 });
    expect(planned[1]).not.toHaveProperty('per_device_train_batch_size');
  });

  it('prints one JSON object where that is asked for', async () => {
    const { out, err } = await run(`plan --from ${folder}/theirs.yaml --json`);
    expect(JSON.parse(out)).toMatchObject({ kind: 'fits', imported: { format: 'axolotl' }, better: { kind: 'fits' } });
    expect(err).toContain('is a config of axolotl');
  });

  it.each([
    ['plan --from nowhere.yaml', "the config 'nowhere.yaml' does not exist (--from)"],
    ['plan DIR/run.yaml --from DIR/theirs.yaml', 'two configs are named'],
    ['plan --from DIR/run.yaml', 'is a config of fulltune'],
    ['plan --from DIR/theirs.yaml --from-format trlx', 'Allowed choices are trl, axolotl, llama-factory.'],
    ['plan --from DIR/d.jsonl', 'is not recognised as a config of'],
  ])('refuses %s', async (words, message) => {
    const { code, err } = await run(words.replaceAll('DIR', folder));
    expect(code).toBe(2);
    expect(err).toContain(message);
  });
});

describe('names of other trainers', () => {
  it('are taken as flags and in the file, saying which key was meant', async () => {
    writeFileSync(join(folder, 'alias.yaml'), 'base_model: m\nsequence_len: 64\n');
    const { planned, err } = await run(`plan ${folder}/alias.yaml --micro_batch_size 2 --no-sample-packing --lr 1e-4`);
    expect(planned).toEqual([{ model: 'm', max_length: 64, per_device_train_batch_size: 2, packing: false, learning_rate: 1e-4 }]);
    expect(err).toContain(`${folder}/alias.yaml:1:1: base_model means model here\n`);
    expect(err).toContain('flags: micro_batch_size means per_device_train_batch_size here\n');
  });

  it('win over the file as other flags do, and are hidden from help', async () => {
    expect((await run(`plan ${folder}/run.yaml --lr 1e-4`)).planned[0]).toMatchObject({ learning_rate: 1e-4 });
    expect((await run('train --help')).out).not.toContain('--micro-batch-size');
  });

  it('are no second name beside the key', async () => {
    const { code, err } = await run('plan --model m --lr 1e-4 --learning-rate 1e-4');
    expect(code).toBe(2);
    expect(err).toContain('learning_rate and lr both set learning_rate (flags)');
  });
});
