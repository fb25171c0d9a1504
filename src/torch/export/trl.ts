/** TRL's supervised fine-tuning: the YAML of `trl sft --config`, which holds SFTConfig and the model and dataset arguments. */

import { TRL_KEYS } from '../trainer-keys/trl.ts';
import { frozenIsLost, inBackwardIsLost, layerwise, machineRules, noStochasticRounding, torchrun } from './common-rules.ts';
import type { ExportedRun } from './exported-run.ts';
import type { Sheet } from './sheet.ts';
import { absent, type Trainer } from './trainer.ts';
import { argumentsAlike, batchRule, hostMemory, mixedPrecision, optimizerRule, SCHEDULE_RULES, shardingRule, transformersBatch } from './transformers-rules.ts';

const title = 'TRL';

/** FSDP2 as transformers configures it; recompute belongs to it. */
function fsdp({ plan }: ExportedRun, sheet: Sheet): void {
  sheet.set('fsdp', true);
  sheet.set('fsdp_config', {
    version: 2, reshard_after_forward: plan.sharding !== 'zero2', cpu_offload: plan.cpuOffload, auto_wrap_policy: 'TRANSFORMER_BASED_WRAP',
    cpu_ram_efficient_loading: true, state_dict_type: 'FULL_STATE_DICT', activation_checkpointing: plan.recompute.kind !== 'none',
  });
}

export const trl: Trainer = {
  name: 'trl',
  title,
  version: '1.16 with transformers 5',
  format: 'yaml',
  fileName: 'trl.yaml',
  needs: ['model', 'dataset'],
  keys: TRL_KEYS,
  plan: {
    packing: ({ plan, rowLength, settings }, sheet) => {
      sheet.set('max_length', rowLength);
      sheet.set('packing', plan.packing.packed);
      if (plan.packing.packed) sheet.set('packing_strategy', settings.overlong === 'split' ? 'bfd_split' : 'bfd');
    },
    batch: (run, sheet) => batchRule(run, sheet, ['per_device_train_batch_size', 'gradient_accumulation_steps']),
    precision: (run, sheet) => {
      mixedPrecision(run, sheet);
      sheet.set('dtype', run.plan.precision === 'bf16-weights' ? 'bfloat16' : 'float32');
      if (run.plan.precision === 'bf16-weights') noStochasticRounding(title, sheet);
    },
    loss: ({ plan }, sheet) => {
      sheet.set('loss_type', 'nll');
      if (plan.loss.kind === 'whole') sheet.lost('chunked_loss false', 'TRL never makes the logits whole', 'The same loss with less memory.');
    },
    optimizer: optimizerRule('optim'),
    recompute: (run, sheet) => {
      const on = layerwise(title, run, sheet);
      sheet.set('gradient_checkpointing', on && run.distributed !== 'fsdp');
      if (on && run.distributed !== 'fsdp') sheet.set('gradient_checkpointing_kwargs', { use_reentrant: false });
    },
    update: inBackwardIsLost(title),
    sharding: shardingRule(title, fsdp),
    ...hostMemory(title),
    offloadedActivations: ({ plan }, sheet) => {
      if (plan.offloadedActivations) sheet.set('activation_offloading', true);
    },
    attention: ({ plan }, sheet) => {
      const own = plan.attention === 'flex' ? 'flex_attention' : plan.attention;
      if (!plan.packing.packed || plan.attention === 'flex') return sheet.set('attn_implementation', own);
      const endToEnd = 'TRL lays the packed rows of a micro-batch end to end, under one mask that grows with the square of their length';
      // Both keep documents apart: transformers reads their borders off the positions.
      if (plan.precision === 'f32') {
        sheet.set('attn_implementation', own);
        return sheet.lost(`attention ${plan.attention}`, endToEnd, 'FlashAttention, which needs no mask, takes no float32: keep micro-batches small. TRL warns; documents are kept apart all the same.');
      }
      sheet.set('attn_implementation', 'flash_attention_2');
      sheet.lost(`attention ${plan.attention}`, endToEnd, `It uses flash_attention_2, which needs none: pip install flash-attn, or set attn_implementation: ${own}.`);
    },
    ...argumentsAlike,
    frozen: frozenIsLost(title),
  },
  settings: {
    model: ({ settings }, sheet) => sheet.set('model_name_or_path', settings.model),
    dataset: ({ settings, layout }, sheet) => {
      sheet.set('datasets', [{ path: /\.txt$/i.test(settings.dataset) ? 'text' : 'json', data_files: settings.dataset, split: 'train' }]);
      if (layout === 'txt') sheet.lost('dataset .txt', 'the datasets library reads a text file line by line, each line one document', 'Write one JSON line {"text": ...} per document.');
      if (layout === 'instruction/output') sheet.lost('dataset with instruction and output', 'TRL does not know these columns', 'Rename them to prompt and completion.');
    },
    eval_dataset: absent('eval_dataset', 'trl sft takes its test rows from the same dataset', 'Evaluate with a share (eval_fraction), or with a script of your own.'),
    eval_fraction: ({ settings }, sheet) => {
      if (settings.eval_fraction > 0) sheet.set('test_split_size', settings.eval_fraction);
    },
    output_dir: ({ settings }, sheet) => sheet.set('output_dir', settings.output_dir ?? 'trl-output'),
    overlong: ({ settings, config, plan }, sheet) => {
      if (config.overlong === undefined) return;
      if (settings.overlong === 'error') sheet.lost('overlong error', 'TRL refuses no document', 'It cuts long documents off at max_length.');
      if (settings.overlong === 'split' && !plan.packing.packed) sheet.lost('overlong split', 'TRL splits documents only when packing', 'It cuts them off at max_length.');
    },
    shuffle: ({ settings }, sheet) => {
      if (!settings.shuffle) sheet.set('train_sampling_strategy', 'sequential');
    },
    train_on_inputs: ({ settings: { train_on_inputs: all }, layout }, sheet) => {
      const chat = layout === 'messages' || layout === 'conversations';
      sheet.set('assistant_only_loss', chat && !all);
      if (layout === 'prompt/completion') sheet.set('completion_only_loss', !all);
      if (chat && !all) sheet.lost('loss on assistant turns only', 'TRL finds them by {% generation %} marks in the chat template', 'It patches the templates of known models; for others give chat_template_path.');
    },
    chat_template: ({ config: { chat_template: template } }, sheet) => {
      if (template === undefined) return;
      if (template === 'chatml') sheet.lost('chat_template chatml', 'TRL takes a file or a model, not a name', 'Give chat_template_path: a .jinja file.');
      else sheet.set('chat_template_path', template);
    },
    ...SCHEDULE_RULES,
    eval_steps: (run, sheet) => {
      const { settings, config } = run;
      // Only a share of the dataset can be evaluated on.
      if (settings.eval_fraction > 0) return SCHEDULE_RULES.eval_steps(run, sheet);
      sheet.set('eval_strategy', 'no');
      if (config.eval_steps !== undefined) sheet.lost(`eval_steps ${config.eval_steps}`, 'there are no rows to evaluate on (see eval_dataset)', 'It does not evaluate.');
    },
    warmup_ratio: ({ settings: { warmup_ratio: ratio }, totalSteps }, sheet) => {
      // From transformers 5 on a value below 1 is a share.
      if (ratio !== undefined) sheet.set('warmup_steps', ratio < 1 ? ratio : (totalSteps ?? 1));
    },
    early_stopping_patience: absent('early_stopping_patience', 'trl sft has no key for it', 'It trains to the end; add EarlyStoppingCallback in a script of your own.'),
    ...machineRules(title),
  },
  command: (run, file) => [run.ranks === 1 && run.distributed !== 'deepspeed' ? `trl sft --config ${file}` : `${torchrun(run)} -m trl.scripts.sft --config ${file}`],
  batchOf: transformersBatch,
};
