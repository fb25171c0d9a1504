/** axolotl: the YAML of `axolotl train`. */

import { AXOLOTL_KEYS } from '../trainer-keys/axolotl.ts';
import { inBackwardIsLost, machineRules, noStochasticRounding } from './common-rules.ts';
import type { DataLayout } from './data-layout.ts';
import type { ExportedRun } from './exported-run.ts';
import type { Sheet, Value } from './sheet.ts';
import type { Trainer } from './trainer.ts';
import { batchRule, hostMemory, optimizerRule, SCHEDULE_RULES, shardingRule } from './transformers-rules.ts';

const title = 'axolotl';

function fsdp({ plan }: ExportedRun, sheet: Sheet): void {
  sheet.set('fsdp_version', 2);
  sheet.set('fsdp_config', {
    reshard_after_forward: plan.sharding !== 'zero2', offload_params: plan.cpuOffload, auto_wrap_policy: 'TRANSFORMER_BASED_WRAP',
    cpu_ram_efficient_loading: true, state_dict_type: 'FULL_STATE_DICT', activation_checkpointing: plan.recompute.kind !== 'none',
  });
}

/** Its `type` per layout of the rows. */
const TYPES: Readonly<Record<Exclude<DataLayout, 'input_ids'>, Readonly<Record<string, Value>>>> = {
  'messages': { type: 'chat_template', field_messages: 'messages' },
  'conversations': { type: 'chat_template', field_messages: 'conversations', message_property_mappings: { role: 'from', content: 'value' } },
  'prompt/completion': { type: { field_instruction: 'prompt', field_output: 'completion', format: '{instruction}', no_input_format: '{instruction}' } },
  'instruction/output': { type: 'alpaca' },
  'text': { type: 'completion', field: 'text' },
  'txt': { type: 'completion', field: 'text' },
};

function datasetEntry(path: string, layout: DataLayout | undefined): Readonly<Record<string, Value>> {
  const type = layout === undefined || layout === 'input_ids' ? {} : TYPES[layout];
  return { path, ds_type: /\.txt$/i.test(path) ? 'text' : 'json', ...type };
}

/** `model.embed*` → the part of a regular expression that axolotl reads: a dot there is a dot, except before a plus. */
function freezePattern(pattern: string): string {
  return pattern.split('*').map((part) => part.replace(/[\\^$()[\]{}+?|]/g, '\\$&')).join('(.+)?');
}

export const axolotl: Trainer = {
  name: 'axolotl',
  title,
  version: '0.19',
  format: 'yaml',
  fileName: 'axolotl.yaml',
  needs: ['model', 'dataset'],
  keys: AXOLOTL_KEYS,
  plan: {
    packing: ({ plan, rowLength }, sheet) => {
      sheet.set('sequence_len', rowLength);
      sheet.set('sample_packing', plan.packing.packed);
      if (plan.packing.packed) {
        sheet.set('eval_sample_packing', true);
        sheet.set('pad_to_sequence_len', true);
      }
    },
    batch: (run, sheet) => batchRule(run, sheet, ['micro_batch_size', 'gradient_accumulation_steps']),
    precision: (run, sheet) => {
      const { precision } = run.plan;
      sheet.set('bf16', precision === 'bf16' || precision === 'bf16-weights');
      sheet.set('fp16', precision === 'f16');
      sheet.set('tf32', false);
      if (precision === 'bf16-weights') noStochasticRounding(title, sheet);
      const masters = run.distributed === 'deepspeed';
      if (precision === 'bf16' && !masters) {
        sheet.lost('bf16 true', 'axolotl loads the weights themselves in bfloat16, without float32 masters', 'Small updates are lost. --distributed deepspeed keeps float32 masters.');
      }
      if (precision === 'f16' && !masters) {
        sheet.lost('fp16 true', 'axolotl loads the weights themselves in float16, and the loss scaler refuses their gradients', 'Use bf16, or --distributed deepspeed, which keeps float32 masters.');
      }
    },
    loss: ({ plan }, sheet) => {
      if (plan.loss.kind === 'chunked') sheet.set('chunked_cross_entropy', true);
    },
    optimizer: optimizerRule('optimizer'),
    recompute: ({ plan, distributed }, sheet) => {
      const on = plan.recompute.kind !== 'none' && distributed !== 'fsdp';
      sheet.set('gradient_checkpointing', on);
      if (on) sheet.set('gradient_checkpointing_kwargs', { use_reentrant: false });
      if (plan.recompute.kind !== 'selective') return;
      if (distributed === 'fsdp') sheet.lost('selective recompute', 'under FSDP axolotl recomputes whole layers', 'Less memory, about a fifth more time.');
      else sheet.set('selective_checkpointing', { save: ['attention', 'aten::mm', 'aten::addmm'] });
    },
    update: inBackwardIsLost(title),
    sharding: shardingRule(title, fsdp),
    ...hostMemory(title),
    offloadedActivations: ({ plan }, sheet) => {
      if (plan.offloadedActivations) sheet.set('activation_offloading', true);
    },
    attention: ({ plan }, sheet) => {
      // FlashAttention takes no float32.
      if (plan.packing.packed && plan.attention !== 'flex' && plan.precision === 'f32') {
        sheet.set('attn_implementation', 'flex_attention');
        return sheet.lost(`attention ${plan.attention}`, 'axolotl keeps packed documents apart with FlashAttention, FlexAttention or xformers only', 'It uses flex_attention.');
      }
      if (!plan.packing.packed || plan.attention === 'flex') return sheet.set('attn_implementation', plan.attention === 'flex' ? 'flex_attention' : plan.attention);
      sheet.set('attn_implementation', 'flash_attention_2');
      sheet.lost(`attention ${plan.attention}`, 'axolotl keeps packed documents apart with FlashAttention, FlexAttention or xformers only', 'It uses flash_attention_2: pip install flash-attn, or set attn_implementation: flex_attention.');
    },
    compile: ({ plan }, sheet) => {
      if (plan.compile) sheet.set('torch_compile', true);
    },
    maxGradNorm: ({ plan }, sheet) => sheet.set('max_grad_norm', plan.maxGradNorm),
    frozen: ({ plan, config }, sheet) => {
      const patterns = config.freeze ?? plan.frozen;
      if (plan.frozen.length > 0) sheet.set('unfrozen_parameters', [`(?!(${patterns.map(freezePattern).join('|')})$)`]);
    },
    seed: ({ plan }, sheet) => sheet.set('seed', plan.seed),
  },
  settings: {
    model: ({ settings }, sheet) => sheet.set('base_model', settings.model),
    dataset: ({ settings, layout }, sheet) => {
      sheet.set('datasets', [datasetEntry(settings.dataset, layout)]);
      if (layout === undefined) sheet.lost('dataset', 'the file is not here, so its columns are not known', 'Set the type of the dataset by hand.');
      if (layout === 'txt') sheet.lost('dataset .txt', 'axolotl reads a text file line by line, each line one document', 'Write one JSON line {"text": ...} per document.');
    },
    eval_dataset: ({ settings, layout }, sheet) => {
      if (settings.eval_dataset !== undefined) sheet.set('test_datasets', [{ ...datasetEntry(settings.eval_dataset, layout), split: 'train' }]);
    },
    eval_fraction: ({ settings }, sheet) => {
      if (settings.eval_dataset === undefined) sheet.set('val_set_size', settings.eval_fraction);
    },
    output_dir: ({ settings }, sheet) => sheet.set('output_dir', settings.output_dir ?? 'axolotl-output'),
    overlong: ({ settings }, sheet) => {
      sheet.set('excess_length_strategy', settings.overlong === 'error' ? 'raise' : 'truncate');
      if (settings.overlong === 'split') sheet.lost('overlong split', 'axolotl cuts long documents off, drops or refuses them', 'It cuts them off at sequence_len.');
    },
    shuffle: ({ settings }, sheet) => {
      if (settings.shuffle) return;
      sheet.set('shuffle_merged_datasets', false);
      sheet.set('curriculum_sampling', true);
    },
    train_on_inputs: ({ settings }, sheet) => sheet.set('train_on_inputs', settings.train_on_inputs),
    chat_template: ({ config: { chat_template: template }, layout }, sheet) => {
      if (template !== undefined && template !== 'chatml') {
        sheet.set('chat_template', 'jinja');
        return sheet.set('chat_template_jinja', template);
      }
      if (template === 'chatml') sheet.set('chat_template', 'chatml');
      else if (layout === 'messages' || layout === 'conversations') sheet.set('chat_template', 'tokenizer_default');
    },
    ...SCHEDULE_RULES,
    lr_scheduler_type: ({ settings }, sheet) => sheet.set('lr_scheduler', settings.lr_scheduler_type),
    num_train_epochs: ({ settings }, sheet) => sheet.set('num_epochs', settings.num_train_epochs),
    warmup_ratio: ({ settings }, sheet) => {
      if (settings.warmup_ratio !== undefined) sheet.set('warmup_ratio', settings.warmup_ratio);
    },
    early_stopping_patience: ({ config }, sheet) => {
      if (config.early_stopping_patience !== undefined) sheet.set('early_stopping_patience', config.early_stopping_patience);
    },
    ...machineRules(title),
  },
  command: ({ ranks, nodes, ranksPerNode }, file) => {
    const launcher = nodes > 1 ? ` --launcher torchrun -- --nnodes ${nodes} --nproc-per-node ${ranksPerNode} --rdzv-backend c10d --rdzv-endpoint HOST:29500` : ` --num-processes ${ranks}`;
    return [`axolotl train ${file}${ranks > 1 ? launcher : ''}`];
  },
  batchOf: (values, { ranks }) => ({ microBatchSize: Number(values.get('micro_batch_size')), accumulationSteps: Number(values.get('gradient_accumulation_steps')), ranks }),
};

