/** A config of axolotl. */

import { AXOLOTL_KEYS } from '../trainer-keys/axolotl.ts';
import type { ImportFormat } from './formats.ts';
import { ignored, numeric, short, to, type ImportRule } from './import-sheet.ts';
import { datasetFile, optimizer, schedule, TRANSFORMERS_RULES } from './shared-rules.ts';

const adapter: ImportRule = (value, sheet, from) =>
  sheet.ignore(`${from} ${short(value)}`, 'an adapter; fulltune trains every parameter, which needs more memory and a lower learning rate, such as 2e-5');

function files(key: 'dataset' | 'eval_dataset'): ImportRule {
  return (value, sheet, from) => {
    const [first, ...others] = (Array.isArray(value) ? value : [value]) as readonly { readonly path?: unknown; readonly data_files?: unknown; readonly type?: unknown }[];
    const listed = Array.isArray(first?.data_files) ? (first.data_files as readonly unknown[])[0] : first?.data_files;
    datasetFile(listed ?? first?.path, sheet, from, key);
    if (first?.type !== undefined) sheet.ignore(`${from}.type ${short(first.type)}`, 'fulltune recognises rows by their columns: messages, conversations, prompt and completion, instruction and output, text');
    if (others.length > 0) sheet.ignore(`${from}: ${others.length} more`, 'fulltune reads one file: join them');
  };
}

const { per_device_train_batch_size: _micro, num_train_epochs: _epochs, optim: _optim, lr_scheduler_type: _schedule, ...SHARED } = TRANSFORMERS_RULES;

export const axolotlFormat: ImportFormat = {
  name: 'axolotl',
  title: 'axolotl',
  keys: AXOLOTL_KEYS,
  signs: ['base_model', 'sequence_len', 'sample_packing', 'micro_batch_size', 'val_set_size', 'dataset_prepared_path', 'num_epochs', 'pad_to_sequence_len'],
  weakSigns: ['datasets', 'adapter', 'optimizer', 'lr_scheduler'],
  rules: {
    ...SHARED,
    base_model: to('model'),
    datasets: files('dataset'),
    test_datasets: files('eval_dataset'),
    val_set_size: (value, sheet, from) => {
      const size = Number(value);
      if (size === 0) return sheet.leave(from);
      if (size > 1) return sheet.ignore(`${from} ${size}`, 'fulltune takes a share of the documents, up to 0.5: give --eval-fraction');
      sheet.translate(from, value, 'eval_fraction', numeric(value));
    },
    sequence_len: to('max_length', numeric),
    sample_packing: to('packing'),
    eval_sample_packing: ignored('evaluation rows are packed as training rows are'),
    pad_to_sequence_len: ignored('packed rows are always full; others have a few lengths'),
    excess_length_strategy: (value, sheet, from) => (value === 'drop' ? sheet.ignore(`${from} drop`, 'fulltune cuts long documents off, splits or refuses them (overlong); cut off is planned') : sheet.translate(from, value, 'overlong', value === 'raise' ? 'error' : value)),
    micro_batch_size: to('per_device_train_batch_size', numeric),
    batch_size: to('train_batch_size', numeric),
    num_epochs: to('num_train_epochs', numeric),
    optimizer, lr_scheduler: schedule,
    train_on_inputs: to('train_on_inputs'),
    chat_template: (value, sheet, from) => {
      if (value === 'chatml') return sheet.translate(from, value, 'chat_template');
      if (value === 'jinja') return sheet.say(`${from} jinja`, 'chat_template_jinja');
      sheet.ignore(`${from} ${short(value)}`, 'the template of the model is used, chatml, or a file');
    },
    chat_template_jinja: (value, sheet, from) => (typeof value === 'string' && value.includes('\n') ? sheet.ignore(from, 'write the template to a file, and give --chat-template FILE') : sheet.translate(from, value, 'chat_template')),
    bfloat16: to('bf16_weights'),
    gradient_checkpointing: to('gradient_checkpointing', (value) => value === true || value === 'offload' || value === 'offload_disk'),
    selective_checkpointing: ignored('the planner chooses per activation what is recomputed: leave gradient_checkpointing out'),
    activation_offloading: ignored('the planner offloads where that is the best: --offload-activation-layers'),
    chunked_cross_entropy: to('chunked_loss'),
    early_stopping_patience: to('early_stopping_patience'),
    unfrozen_parameters: ignored('fulltune takes the opposite: freeze, with the names that are not trained'),
    evals_per_epoch: ignored('fulltune evaluates each epoch and at the end, or every eval_steps'),
    saves_per_epoch: ignored('fulltune saves each epoch and at the end, or every save_steps'),
    cosine_min_lr_ratio: ignored('the cosine of fulltune ends at 0; the run differs'),
    adapter, lora_model_dir: adapter,
    rl: (value, sheet, from) => sheet.refuse(`${from} ${short(value)}`, 'For preference and reinforcement learning use axolotl itself.'),
    type_of_model: ignored('config.json of the model says it'), model_type: ignored('config.json of the model says it'), tokenizer_type: ignored('the tokenizer of the model is used'),
    special_tokens: ignored('the tokens of the model are used; add them to its tokenizer first'), tokens: ignored('the tokens of the model are used; add them to its tokenizer first'),
    output_dir: ignored('their runs and ours do not share a folder; give --output-dir'),
  },
  defaults: (sheet, all) => {
    if (!sheet.config.has('train_batch_size')) sheet.assume('micro_batch_size', 1, 'per_device_train_batch_size');
    if (!sheet.config.has('train_batch_size')) sheet.assume('gradient_accumulation_steps', 1, 'gradient_accumulation_steps');
    sheet.assume('sequence_len', 512, 'max_length');
    sheet.assume('sample_packing', false, 'packing');
    sheet.assume('num_epochs', 1, 'num_train_epochs');
    sheet.assume('lr_scheduler', 'cosine', 'lr_scheduler_type');
    sheet.assume('gradient_checkpointing', false, 'gradient_checkpointing');
    if (all['warmup_steps'] === undefined) sheet.assume('warm-up', '3 % of the steps', 'warmup_ratio', 0.03);
    if (all['bf16'] === undefined && sheet.config.get('fp16') !== true) sheet.assume('bf16', 'auto', 'bf16', true);
    if (sheet.config.get('bf16') === true && (all['deepspeed'] ?? '') === '') {
      sheet.ignore('bf16: weights', 'axolotl holds the weights themselves in bfloat16; fulltune keeps float32 masters, unless --bf16-weights');
    }
  },
};
