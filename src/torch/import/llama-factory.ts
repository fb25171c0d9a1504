/** A config of LLaMA-Factory; datasets are looked up in the dataset_info.json that it names. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LLAMA_FACTORY_KEYS } from '../trainer-keys/llama-factory.ts';
import type { ImportFormat } from './formats.ts';
import { ignored, numeric, short, to, type ImportRule } from './import-sheet.ts';
import { datasetFile, TRANSFORMERS_RULES } from './shared-rules.ts';

function named(key: 'dataset' | 'eval_dataset'): ImportRule {
  return (value, sheet, from, all) => {
    const [name = '', ...others] = String(value).split(',').map((part) => part.trim());
    datasetFile(fileOf(name, typeof all['dataset_dir'] === 'string' ? all['dataset_dir'] : 'data') ?? name, sheet, from, key);
    if (others.length > 0) sheet.ignore(`${from}: ${others.join(', ')}`, 'fulltune reads one file: join them');
  };
}

/** The file of a dataset by dataset_info.json; undefined when that does not say. */
function fileOf(name: string, folder: string): string | undefined {
  const list = join(folder, 'dataset_info.json');
  if (!existsSync(list)) return undefined;
  try {
    const info = JSON.parse(readFileSync(list, 'utf8')) as Readonly<Record<string, { readonly file_name?: unknown } | undefined>>;
    const file = info[name]?.file_name;
    if (typeof file !== 'string') return undefined;
    return file.startsWith('/') ? file : join(folder, file);
  } catch {
    return undefined; // their file is not ours to judge: the name is reported as one that is not here
  }
}

export const llamaFactoryFormat: ImportFormat = {
  name: 'llama-factory',
  title: 'LLaMA-Factory',
  keys: LLAMA_FACTORY_KEYS,
  signs: ['stage', 'finetuning_type', 'cutoff_len', 'template', 'neat_packing', 'train_on_prompt', 'dataset_dir', 'disable_gradient_checkpointing', 'pure_bf16'],
  weakSigns: ['overwrite_cache', 'preprocessing_num_workers', 'do_train', 'val_size', 'plot_loss'],
  rules: {
    ...TRANSFORMERS_RULES,
    model_name_or_path: to('model'),
    stage: (value, sheet, from) => {
      if (value !== 'sft' && value !== 'pt') sheet.refuse(`${from} ${short(value)}`, 'For preference and reinforcement learning use LLaMA-Factory itself.');
      sheet.say(`${from} ${short(value)}`, value === 'pt' ? 'text, all of it learned' : 'loss on answers');
    },
    finetuning_type: (value, sheet, from) => {
      if (value === 'full') return sheet.say(`${from} full`, 'what fulltune does');
      sheet.ignore(`${from} ${short(value)}`, 'fulltune trains every parameter, which needs more memory and a lower learning rate than an adapter, such as 2e-5');
    },
    dataset: named('dataset'),
    eval_dataset: named('eval_dataset'),
    dataset_dir: (value, sheet, from) => sheet.say(`${from} ${short(value)}`, 'where dataset is looked up'),
    val_size: (value, sheet, from) => (Number(value) > 1 ? sheet.ignore(`${from} ${short(value)}`, 'fulltune takes a share of the documents, up to 0.5: give --eval-fraction') : Number(value) === 0 ? sheet.leave(from) : sheet.translate(from, value, 'eval_fraction', numeric(value))),
    cutoff_len: to('max_length', numeric),
    packing: to('packing'),
    neat_packing: (value, sheet, from) => (value === true ? sheet.translate(from, value, 'packing') : sheet.leave(from)),
    train_on_prompt: to('train_on_inputs'),
    mask_history: (value, sheet, from) => (value === true ? sheet.ignore(`${from} true`, 'fulltune learns every answer of a conversation; the run differs') : sheet.leave(from)),
    template: (value, sheet, from) => (value === 'chatml' ? sheet.translate(from, value, 'chat_template') : sheet.ignore(`${from} ${short(value)}`, 'the template of the model is used, chatml, or a file')),
    disable_gradient_checkpointing: to('gradient_checkpointing', (value) => value !== true),
    pure_bf16: (value, sheet, from) => {
      if (value !== true) return sheet.leave(from);
      sheet.translate(from, value, 'bf16_weights');
    },
    enable_liger_kernel: ignored('fulltune has fused kernels of its own, and chunks the loss where that helps'),
    early_stopping_steps: to('early_stopping_patience'),
    disable_shuffling: to('shuffle', (value) => value !== true),
    flash_attn: ignored('the engine has one way for this, which the plan describes'),
    freeze_trainable_layers: ignored('give freeze, with the names that are not trained'),
    rope_scaling: ignored('config.json of the model says it'),
    use_galore: ignored('fulltune does not have this optimizer'), use_badam: ignored('fulltune does not have this optimizer'), use_apollo: ignored('fulltune does not have this optimizer'),
    use_muon: ignored('fulltune does not have this optimizer'), use_adam_mini: ignored('fulltune does not have this optimizer'),
    output_dir: ignored('their runs and ours do not share a folder; give --output-dir'),
  },
  defaults: (sheet, all) => {
    sheet.assume('per_device_train_batch_size', 8, 'per_device_train_batch_size');
    sheet.assume('gradient_accumulation_steps', 1, 'gradient_accumulation_steps');
    sheet.assume('cutoff_len', 2048, 'max_length');
    sheet.assume('packing', all['stage'] === 'pt', 'packing');
    sheet.assume('learning_rate', 5e-5, 'learning_rate');
    sheet.assume('disable_gradient_checkpointing', false, 'gradient_checkpointing', true);
  },
};
