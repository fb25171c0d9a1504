/** Configs as the trainers' own examples have them, and mistakes. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parsePlanConfig } from '../../run/config-schema.ts';
import { resolveSettings } from '../../run/resolve-settings.ts';
import { importConfig, type Imported, type ImportOptions } from './import-config.ts';

const folder = mkdtempSync(join(tmpdir(), 'fulltune-import-'));
afterAll(() => rmSync(folder, { recursive: true }));
const data = join(folder, 'train.jsonl');
writeFileSync(data, '{"text": "a"}\n');

function imported(text: string, options?: ImportOptions): Imported {
  const file = join(folder, 'theirs.yaml');
  writeFileSync(file, text);
  const result = importConfig(file, options);
  // What comes out can be planned.
  resolveSettings(parsePlanConfig({ model: 'm', ...result.config }));
  // Each key of theirs is accounted for.
  const told = [...result.translated.map(({ from }) => from), ...result.ignored.map(({ key }) => key), ...result.off].join('\n');
  for (const key of text.split('\n').flatMap((line) => /^(\w+):/.exec(line)?.[1] ?? [])) expect(told, key).toContain(key);
  return result;
}

const AXOLOTL = `
base_model: NousResearch/Meta-Llama-3.1-8B
hub_model_id: username/custom_model_name
load_in_8bit: false
load_in_4bit: false
datasets:
  - path: ${data}
    type: completion
dataset_prepared_path: last_run_prepared
val_set_size: 0.05
output_dir: ./outputs/out
sequence_len: 8192
sample_packing: true
pad_to_sequence_len: true
wandb_project:
wandb_entity:
gradient_accumulation_steps: 8
micro_batch_size: 1
num_epochs: 1
optimizer: paged_adamw_8bit
lr_scheduler: cosine
learning_rate: 2e-5
bf16: auto
tf32: false
gradient_checkpointing: true
gradient_checkpointing_kwargs:
  use_reentrant: false
resume_from_checkpoint:
logging_steps: 1
flash_attention: true
warmup_steps: 100
evals_per_epoch: 2
saves_per_epoch: 1
debug:
deepspeed:
weight_decay: 0.0
fsdp:
fsdp_config:
special_tokens:
  pad_token: <|end_of_text|>
`;

const LLAMA_FACTORY = `### model
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct
trust_remote_code: true

### method
stage: sft
do_train: true
finetuning_type: full
deepspeed: examples/deepspeed/ds_z3_config.json

### dataset
dataset: mine,alpaca_en_demo
dataset_dir: ${folder}
template: llama3
cutoff_len: 2048
max_samples: 1000
overwrite_cache: true
preprocessing_num_workers: 16

### output
output_dir: saves/llama3-8b/full/sft
logging_steps: 10
save_steps: 500
plot_loss: true
overwrite_output_dir: true
save_only_model: false
report_to: none

### train
per_device_train_batch_size: 1
gradient_accumulation_steps: 2
learning_rate: 1.0e-5
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
ddp_timeout: 180000000
resume_from_checkpoint: null
`;

const TRL = `model_name_or_path: Qwen/Qwen2.5-0.5B
dataset_name: ${data}
output_dir: out
learning_rate: 2.0e-5
num_train_epochs: 1
packing: true
max_length: 2048
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
gradient_checkpointing: true
eos_token: <|im_end|>
eval_strategy: "no"
bf16: true
warmup_steps: 0.1
`;

describe('importConfig', () => {
  it('reads a full fine-tune of axolotl', () => {
    const { format, config, ignored, assumed } = imported(AXOLOTL);
    expect(format).toBe('axolotl');
    expect(config).toEqual({
      model: 'NousResearch/Meta-Llama-3.1-8B', dataset: data, eval_fraction: 0.05, max_length: 8192, packing: true, gradient_accumulation_steps: 8,
      per_device_train_batch_size: 1, num_train_epochs: 1, optim: 'adamw_8bit', lr_scheduler_type: 'cosine', learning_rate: 2e-5, bf16: true,
      gradient_checkpointing: true, logging_steps: 1, warmup_steps: 100, weight_decay: 0,
    });
    expect(ignored.map(({ key }) => key)).toEqual(expect.arrayContaining(['optimizer paged_adamw_8bit', 'bf16: weights', 'evals_per_epoch 2', 'datasets.type completion']));
    expect(assumed).toEqual([]);
  });

  it('reads a full fine-tune of LLaMA-Factory, its dataset by dataset_info.json', () => {
    writeFileSync(join(folder, 'dataset_info.json'), JSON.stringify({ mine: { file_name: 'train.jsonl' } }));
    const { format, config, ignored, assumed } = imported(LLAMA_FACTORY);
    expect(format).toBe('llama-factory');
    expect(config).toMatchObject({ model: 'meta-llama/Meta-Llama-3-8B-Instruct', dataset: data, max_length: 2048, packing: false, warmup_ratio: 0.1, bf16: true, gradient_checkpointing: true, save_steps: 500 });
    expect(ignored.map(({ key }) => key)).toEqual(expect.arrayContaining(['dataset: alpaca_en_demo', 'template llama3', 'deepspeed examples/deepspeed/ds_z3_config.json', 'max_samples 1000']));
    expect(assumed.map(({ from }) => from)).toEqual(['packing false', 'disable_gradient_checkpointing false']);
  });

  it('reads a config of TRL', () => {
    const { format, config, ignored } = imported(TRL);
    expect(format).toBe('trl');
    expect(config).toMatchObject({ model: 'Qwen/Qwen2.5-0.5B', dataset: data, warmup_ratio: 0.1, max_length: 2048, packing: true });
    expect(config).not.toHaveProperty('eval_steps');
    expect(ignored.map(({ key }) => key)).toContain('assistant_only_loss (not set)');
  });

  it('reads arguments as JSON, and fills in what their trainer would', () => {
    const { format, config, assumed } = imported('{"output_dir": "x", "num_train_epochs": 2, "max_steps": -1, "learning_rate": 1e-5, "optim": "adamw_torch", "eval_steps": null}');
    expect(format).toBe('trl');
    expect(config).toEqual({ num_train_epochs: 2, learning_rate: 1e-5, optim: 'adamw', per_device_train_batch_size: 8, gradient_accumulation_steps: 1, max_length: 1024, packing: false, gradient_checkpointing: true, bf16: true });
    expect(assumed).toHaveLength(6);
  });

  it.each([['adamw_torch_8bit', 'adamw_8bit'], ['adamw_torch_4bit', 'adamw_4bit'], ['ao_adamw_4bit', 'adamw_4bit']])('reads %s of torchao', (theirs, ours) => {
    const { config, ignored } = imported(AXOLOTL.replace('paged_adamw_8bit', theirs).concat('adam_epsilon: 1e-6\n'));
    expect(config).toMatchObject({ optim: ours, adam_epsilon: 1e-6 });
    expect(ignored.map(({ key }) => key)).not.toContain(`optimizer ${theirs}`);
  });

  it('says of adapters that this is full fine-tuning', () => {
    const { ignored } = imported('base_model: m\nadapter: qlora\nload_in_4bit: true\nlora_r: 32\nlora_target_linear: true\nsequence_len: 512\n');
    for (const key of ['adapter qlora', 'load_in_4bit true', 'lora_r 32']) expect(ignored.find((entry) => entry.key === key)?.reason, key).toContain('fulltune trains every parameter');
    expect(imported('model_name_or_path: m\nstage: sft\nfinetuning_type: lora\nlora_rank: 8\n').ignored.find(({ key }) => key === 'finetuning_type lora')?.reason).toContain('every parameter');
  });

  it('asks about keys that their trainer does not know', () => {
    const { ignored } = imported('base_model: m\nsequence_len: 512\nsample_paking: true\nwarp: 9\n');
    expect(ignored).toEqual(expect.arrayContaining([
      { key: 'sample_paking true', reason: 'axolotl does not know this key, either; did they mean sample_packing?' }, { key: 'warp 9', reason: 'axolotl does not know this key, either' },
    ]));
  });

  it('multiplies rows per update by the devices of their run', () => {
    const { config } = imported(AXOLOTL, { ranks: 8 });
    expect(config).toMatchObject({ train_batch_size: 64, per_device_train_batch_size: 1 });
    expect(config).not.toHaveProperty('gradient_accumulation_steps');
  });

  it('settles what transformers lets stand side by side', () => {
    const { config, ignored } = imported(`${TRL}warmup_ratio: 0.2\nlr_scheduler_type: constant\neval_steps: 50\nload_best_model_at_end: true\noptim: adafactor\nadam_beta1: 0.8\n`);
    for (const key of ['warmup_ratio', 'warmup_steps', 'eval_steps', 'load_best_model_at_end', 'adam_beta1']) expect(config).not.toHaveProperty(key);
    expect(ignored.map(({ key }) => key)).toEqual(expect.arrayContaining(['warmup_steps 0.1', 'warmup_ratio 0.2', 'eval_steps 50', 'load_best_model_at_end true', 'adam_beta1 0.8']));
  });

  it.each([
    ['preference learning', 'base_model: m\nsequence_len: 8\nrl: dpo\n', 'rl dpo: fulltune does full supervised fine-tuning only'],
    ['reward models', 'model_name_or_path: m\nstage: rm\n', 'stage rm: fulltune does full supervised'],
    ['a value that cannot be', 'base_model: m\nsequence_len: many\n', 'sequence_len of axolotl is many: max_length is'],
    ['our own config', 'model: m\nmax_length: 8\n', 'is a config of fulltune'],
    ['what is no config', 'a: 1\nb: 2\n', 'is not recognised as a config of axolotl, LLaMA-Factory, TRL'],
    ['a list', '- a\n', 'no list of keys with values'],
    ['broken YAML', 'a: [1\nb: 2\n', 'this is no valid YAML or JSON'],
  ])('refuses %s', (_name, text, message) => {
    expect(() => imported(text)).toThrow(message);
  });

  it('refuses files that are not there, and reads what it is told to', () => {
    expect(() => importConfig('nowhere.yaml')).toThrow("the config 'nowhere.yaml' does not exist");
    mkdirSync(join(folder, 'dir'), { recursive: true });
    expect(() => importConfig(join(folder, 'dir'))).toThrow('cannot be read');
    expect(imported('learning_rate: 1e-4\n', { format: 'llama-factory' }).config).toMatchObject({ learning_rate: 1e-4, max_length: 2048 });
  });
});
