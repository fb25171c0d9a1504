/** A config of TRL's supervised fine-tuning: what `trl sft --config` reads, or the arguments of a Trainer as JSON. */

import { TRL_KEYS } from '../trainer-keys/trl.ts';
import { ignored, numeric, short, to } from './import-sheet.ts';
import type { ImportFormat } from './formats.ts';
import { datasetFile, TRANSFORMERS_RULES } from './shared-rules.ts';

/** `datasets: [{path: json, data_files: FILE}]`. */
function datasets(value: unknown, sheet: Parameters<typeof datasetFile>[1], from: string): void {
  const list = Array.isArray(value) ? value : [value];
  const [first, ...others] = list as readonly { readonly path?: unknown; readonly data_files?: unknown }[];
  const files = first?.data_files;
  const file = Array.isArray(files) && files.length === 1 ? (files as readonly unknown[])[0] : typeof files === 'object' && files !== null && 'train' in files ? files.train : (files ?? first?.path);
  datasetFile(file, sheet, from);
  if (others.length > 0) sheet.ignore(`${from}: ${others.length} more`, 'fulltune reads one file: join them');
}

export const trlFormat: ImportFormat = {
  name: 'trl',
  title: 'TRL',
  keys: TRL_KEYS,
  signs: ['assistant_only_loss', 'completion_only_loss', 'packing_strategy', 'dataset_text_field', 'dataset_kwargs', 'eval_packing', 'padding_free', 'chat_template_path'],
  weakSigns: ['per_device_train_batch_size', 'num_train_epochs', 'max_length', 'max_seq_length', 'dataset_name', 'model_name_or_path', 'gradient_accumulation_steps', 'lr_scheduler_type'],
  rules: {
    ...TRANSFORMERS_RULES,
    model_name_or_path: to('model'),
    dataset_name: (value, sheet, from) => datasetFile(value, sheet, from),
    datasets,
    test_split_size: to('eval_fraction', numeric),
    max_length: to('max_length', numeric), max_seq_length: to('max_length', numeric),
    packing: to('packing'),
    packing_strategy: (value, sheet, from) => {
      if (value === 'bfd') return sheet.say(`${from} bfd`, 'packing, the only way');
      sheet.translate(from, value, 'overlong', 'split');
      if (value === 'wrapped') sheet.ignore(`${from} wrapped`, 'fulltune keeps the documents of a row apart, and cuts only those that are longer than a row');
    },
    assistant_only_loss: to('train_on_inputs', (value) => value !== true),
    completion_only_loss: to('train_on_inputs', (value) => value === false),
    chat_template_path: to('chat_template'),
    loss_type: (value, sheet, from) => (value === 'nll' || value === 'chunked_nll' ? sheet.say(`${from} ${value}`, 'chunked_loss as planned') : sheet.ignore(`${from} ${short(value)}`, 'fulltune has cross-entropy only; the run differs')),
    activation_offloading: (value, sheet, from) => sheet.ignore(`${from} ${short(value)}`, 'the planner offloads where that is the best: --offload-activation-layers'),
    dataset_text_field: (value, sheet, from) => (value === 'text' ? sheet.leave(from) : sheet.ignore(`${from} ${short(value)}`, 'fulltune reads the column text; rename it')),
    shuffle_dataset: to('shuffle'),
    train_sampling_strategy: to('shuffle', (value) => value !== 'sequential'),
    dtype: ignored('weights are float32 in memory unless bf16_weights is set'), torch_dtype: ignored('weights are float32 in memory unless bf16_weights is set'),
    use_peft: (value, sheet, from) => sheet.ignore(`${from} ${short(value)}`, 'an adapter; fulltune trains every parameter, which needs more memory and a lower learning rate, such as 2e-5'),
  },
  defaults: (sheet, all) => {
    sheet.assume('per_device_train_batch_size', 8, 'per_device_train_batch_size');
    sheet.assume('gradient_accumulation_steps', 1, 'gradient_accumulation_steps');
    if (all['max_length'] === undefined) sheet.assume('max_length', 1024, 'max_length');
    sheet.assume('packing', false, 'packing');
    sheet.assume('gradient_checkpointing', true, 'gradient_checkpointing');
    if (sheet.config.get('fp16') !== true) sheet.assume('bf16', true, 'bf16');
    if (!sheet.config.has('train_on_inputs')) sheet.ignore('assistant_only_loss (not set)', 'TRL learns whole conversations then; fulltune the answers only, unless --train-on-inputs');
  },
};
