/** LLaMA-Factory: the YAML of `llamafactory-cli train`, and dataset_info.json beside it, by which it finds the data. */

import { isAbsolute, relative } from 'node:path';
import { LLAMA_FACTORY_KEYS } from '../trainer-keys/llama-factory.ts';
import { frozenIsLost, inBackwardIsLost, layerwise, machineRules, noStochasticRounding } from './common-rules.ts';
import type { DataLayout } from './data-layout.ts';
import type { ExportedRun } from './exported-run.ts';
import type { Sheet, Value } from './sheet.ts';
import type { Rule, Trainer } from './trainer.ts';
import { argumentsAlike, batchRule, hostMemory, mixedPrecision, optimizerRule, SCHEDULE_RULES, shardingRule, transformersBatch } from './transformers-rules.ts';

const title = 'LLaMA-Factory';

/** Up to transformers 5.6, which it needs, the strategy is a text. */
function fsdp({ plan }: ExportedRun, sheet: Sheet): void {
  sheet.set('fsdp', ['full_shard', 'auto_wrap', ...(plan.cpuOffload ? ['offload'] : [])].join(' '));
  sheet.set('fsdp_config', { version: 2, reshard_after_forward: plan.sharding !== 'zero2', cpu_ram_efficient_loading: true, state_dict_type: 'FULL_STATE_DICT' });
}

/** How dataset_info.json describes each layout. `stage: pt` takes plain text. */
const FORMATS: Readonly<Record<Exclude<DataLayout, 'input_ids' | 'txt'>, Readonly<Record<string, Value>>>> = {
  'messages': {
    formatting: 'sharegpt', columns: { messages: 'messages' },
    tags: { role_tag: 'role', content_tag: 'content', user_tag: 'user', assistant_tag: 'assistant', system_tag: 'system' },
  },
  'conversations': { formatting: 'sharegpt', columns: { messages: 'conversations' } },
  'prompt/completion': { columns: { prompt: 'prompt', response: 'completion' } },
  'instruction/output': { columns: { prompt: 'instruction', query: 'input', response: 'output' } },
  'text': { columns: { prompt: 'text' } },
};

function entry(dataset: string, { layout, folder }: ExportedRun): Readonly<Record<string, Value>> {
  const format = layout === undefined || layout === 'input_ids' || layout === 'txt' ? {} : FORMATS[layout];
  return { file_name: isAbsolute(dataset) ? dataset : relative(folder, dataset) || dataset, ...format };
}

const dataset: Rule = ({ layout }, sheet) => {
  sheet.set('dataset', 'train');
  if (layout === undefined) sheet.lost('dataset', 'the file is not here, so its columns are not known', 'dataset_info.json says Alpaca columns: correct it.');
  if (layout === 'input_ids') sheet.lost('dataset with input_ids', 'LLaMA-Factory tokenises by itself', 'Give it the texts instead.');
  if (layout === 'prompt/completion' || layout === 'instruction/output') {
    sheet.lost(`dataset with ${layout.replace('/', ' and ')}`, 'LLaMA-Factory puts both into the chat template of the model', 'The rows differ from what fulltune trains on, which is the plain text.');
  }
};

export const llamaFactory: Trainer = {
  name: 'llama-factory',
  title,
  version: '0.9.5',
  format: 'yaml',
  fileName: 'llama-factory.yaml',
  needs: ['model', 'dataset'],
  keys: LLAMA_FACTORY_KEYS,
  plan: {
    packing: ({ plan, rowLength }, sheet) => {
      sheet.set('cutoff_len', rowLength);
      sheet.set('packing', plan.packing.packed);
      sheet.set('neat_packing', plan.packing.packed);
    },
    batch: (run, sheet) => batchRule(run, sheet, ['per_device_train_batch_size', 'gradient_accumulation_steps']),
    precision: (run, sheet) => {
      mixedPrecision(run, sheet);
      if (run.plan.precision !== 'bf16-weights') return;
      sheet.set('pure_bf16', true);
      noStochasticRounding(title, sheet);
    },
    loss: ({ plan }, sheet) => {
      if (plan.loss.kind === 'chunked') sheet.set('enable_liger_kernel', true);
    },
    optimizer: optimizerRule('optim'),
    recompute: (run, sheet) => sheet.set('disable_gradient_checkpointing', !layerwise(title, run, sheet)),
    update: inBackwardIsLost(title),
    sharding: shardingRule(title, fsdp),
    ...hostMemory(title),
    offloadedActivations: ({ plan }, sheet) => {
      if (plan.offloadedActivations) sheet.lost('offload_activation_layers', `${title} keeps saved activations in the memory of the device`, 'More memory than the plan; recompute (disable_gradient_checkpointing: false) saves it.');
    },
    attention: ({ plan }, sheet) => {
      sheet.set('flash_attn', { sdpa: 'sdpa', eager: 'disabled', flex: 'auto' }[plan.attention]);
      if (plan.attention === 'flex') sheet.lost('attention flex', `${title} has no FlexAttention`, 'It takes the best that is installed.');
    },
    ...argumentsAlike,
    frozen: frozenIsLost(title),
  },
  settings: {
    model: ({ settings }, sheet) => sheet.set('model_name_or_path', settings.model),
    dataset: (run, sheet) => {
      sheet.set('stage', run.layout === 'text' || run.layout === 'txt' ? 'pt' : 'sft');
      sheet.set('do_train', true);
      sheet.set('finetuning_type', 'full');
      sheet.set('dataset_dir', run.folder);
      dataset(run, sheet);
    },
    eval_dataset: ({ settings }, sheet) => {
      if (settings.eval_dataset !== undefined) sheet.set('eval_dataset', 'evaluation');
    },
    eval_fraction: ({ settings }, sheet) => {
      if (settings.eval_fraction > 0) sheet.set('val_size', settings.eval_fraction);
    },
    output_dir: ({ settings }, sheet) => sheet.set('output_dir', settings.output_dir ?? 'llama-factory-output'),
    overlong: ({ config }, sheet) => {
      if (config.overlong === 'split' || config.overlong === 'error') sheet.lost(`overlong ${config.overlong}`, `${title} cuts documents off at cutoff_len`, 'What is behind it is not trained on.');
    },
    shuffle: ({ settings }, sheet) => {
      if (!settings.shuffle) sheet.set('disable_shuffling', true);
    },
    train_on_inputs: ({ settings }, sheet) => sheet.set('train_on_prompt', settings.train_on_inputs),
    chat_template: ({ config: { chat_template: template } }, sheet) => {
      if (template === 'chatml') sheet.set('template', 'chatml');
      else if (template !== undefined) sheet.lost(`chat_template ${template}`, `${title} has templates by name, no files`, 'It uses the template of the model; or set template to one of its names.');
    },
    ...SCHEDULE_RULES,
    warmup_ratio: ({ settings: { warmup_ratio: ratio } }, sheet) => {
      if (ratio !== undefined) sheet.set('warmup_ratio', ratio);
    },
    early_stopping_patience: ({ config }, sheet) => {
      if (config.early_stopping_patience !== undefined) sheet.set('early_stopping_steps', config.early_stopping_patience);
    },
    ...machineRules(title),
  },
  sideFiles: (run) => {
    const { dataset: train, eval_dataset: evaluation } = run.settings;
    const info = { train: entry(train, run), ...(evaluation === undefined ? {} : { evaluation: entry(evaluation, run) }) };
    return [{ name: 'dataset_info.json', text: `${JSON.stringify(info, null, 2)}\n` }];
  },
  command: ({ ranks, nodes, ranksPerNode, distributed }, file) => {
    const many = ranks > 1 || distributed === 'deepspeed' ? `FORCE_TORCHRUN=1 NPROC_PER_NODE=${ranksPerNode} ` : '';
    return [`${many}${nodes > 1 ? `NNODES=${nodes} NODE_RANK=N MASTER_ADDR=HOST MASTER_PORT=29500 ` : ''}llamafactory-cli train ${file}`];
  },
  batchOf: transformersBatch,
};
