/** What `importConfig` does: a config of another trainer as ours, and what became of each of its keys. */

import { readFileSync } from 'node:fs';
import { parseDocument } from 'yaml';
import { FulltuneError, nearest } from '../../base/errors.ts';
import { CONFIG_KEYS } from '../../run/config-schema.ts';
import type { RunConfig } from '../../run/run-config.ts';
import { axolotlFormat } from './axolotl.ts';
import { IMPORT_FORMATS, type ImportFormat, type ImportFormatName } from './formats.ts';
import { ImportSheet, short, type Ignored, type Translated } from './import-sheet.ts';
import { llamaFactoryFormat } from './llama-factory.ts';
import { reasonFor } from './shared-rules.ts';
import { trlFormat } from './trl.ts';

const FORMATS: readonly ImportFormat[] = [axolotlFormat, llamaFactoryFormat, trlFormat];

export interface ImportOptions {
  /** Default: recognised by its keys. */
  readonly format?: ImportFormatName | undefined;
  /** Devices that their run used: rows per update are as many times more. Default 1. */
  readonly ranks?: number | undefined;
}

export interface Imported {
  readonly format: ImportFormatName;
  /** As people write it. */
  readonly title: string;
  readonly file: string;
  /** May lack `model` and `dataset`. */
  readonly config: Partial<RunConfig>;
  readonly translated: readonly Translated[];
  readonly assumed: readonly Translated[];
  readonly ignored: readonly Ignored[];
  /** Keys that are off or empty. */
  readonly off: readonly string[];
}

/** Throws E_FILE, and E_CONFIG for a file that is of none of these trainers, a value that cannot be, and training that is no fine-tuning. */
export function importConfig(file: string, { format: name, ranks = 1 }: ImportOptions = {}): Imported {
  const all = readKeys(file);
  const format = name === undefined ? recognise(all, file) : FORMATS.find((candidate) => candidate.name === name);
  if (format === undefined) throw new FulltuneError('E_CONFIG', `--from-format '${name}' is none that fulltune reads`, { where: '--from-format', remedy: `There are ${IMPORT_FORMATS.join(', ')}.` });
  const sheet = new ImportSheet(file, format.title);
  for (const [key, value] of Object.entries(all)) {
    if (value === null || value === undefined || value === '' || (Array.isArray(value) && value.length === 0)) {
      sheet.off.push(key);
      continue;
    }
    const rule = Object.hasOwn(format.rules, key) ? format.rules[key] : undefined;
    if (rule !== undefined) rule(value, sheet, key, all);
    else if (!format.keys.has(key)) sheet.ignore(`${key} ${short(value)}`, unknown(key, format));
    else if (value === false) sheet.off.push(key);
    else sheet.ignore(`${key} ${short(value)}`, reasonFor(key));
  }
  format.defaults(sheet, all);
  settle(sheet, ranks);
  return {
    format: format.name, title: format.title, file, config: Object.fromEntries(sheet.config),
    translated: sheet.translated, assumed: sheet.assumed, ignored: sheet.ignored, off: sheet.off,
  };
}

function unknown(key: string, { title, keys }: ImportFormat): string {
  const near = nearest(key, keys);
  return `${title} does not know this key, either${near === undefined ? '' : `; did they mean ${near}?`}`;
}

/** What transformers lets stand side by side and our settings do not. */
function settle(sheet: ImportSheet, ranks: number): void {
  const { config } = sheet;
  const number = (key: Parameters<typeof config.get>[0]): number => Number(config.get(key) ?? 0);
  if (number('warmup_steps') > 0) sheet.drop('warmup_ratio', 'warmup_steps is set, and wins');
  else if (number('warmup_ratio') > 0) config.delete('warmup_steps');
  else config.delete('warmup_ratio');
  if (config.get('lr_scheduler_type') === 'constant') {
    for (const key of ['warmup_steps', 'warmup_ratio'] as const) sheet.drop(key, 'a constant schedule has no warm-up, in transformers either');
  }
  if (config.get('bf16') === true && config.get('fp16') === true) sheet.drop('fp16', 'bf16 is set, too');
  if (config.has('eval_dataset')) sheet.drop('eval_fraction', 'eval_dataset is set');
  if (!config.has('eval_dataset') && number('eval_fraction') === 0) {
    for (const key of ['eval_steps', 'load_best_model_at_end', 'early_stopping_patience'] as const) {
      if (config.get(key) !== false) sheet.drop(key, 'there are no data to evaluate on here');
    }
  }
  const optim = short(config.get('optim') ?? 'adamw');
  if (!optim.startsWith('adamw')) {
    sheet.drop('adam_epsilon', `${optim} has none`);
    if (optim !== 'lion') for (const key of ['adam_beta1', 'adam_beta2'] as const) sheet.drop(key, `${optim} has none`);
  }
  if (ranks > 1 && config.has('per_device_train_batch_size')) {
    const rows = number('per_device_train_batch_size') * number('gradient_accumulation_steps') * ranks;
    config.set('train_batch_size', rows);
    config.delete('gradient_accumulation_steps');
    sheet.say(`micro-batch × accumulation × ${ranks} devices`, `train_batch_size ${rows}`);
  }
}

function recognise(all: Readonly<Record<string, unknown>>, file: string): ImportFormat {
  const keys = Object.keys(all);
  const score = ({ signs, weakSigns }: ImportFormat): number => keys.filter((key) => signs.includes(key)).length * 10 + keys.filter((key) => weakSigns.includes(key)).length;
  const [best, second] = FORMATS.map((format) => ({ format, score: score(format) })).toSorted((a, b) => b.score - a.score);
  if (keys.includes('model') && keys.every((key) => (CONFIG_KEYS as readonly string[]).includes(key))) {
    throw new FulltuneError('E_CONFIG', `'${file}' is a config of fulltune`, { where: file, remedy: `fulltune plan ${file}` });
  }
  if (best === undefined || best.score === 0 || best.score === second?.score) {
    throw new FulltuneError('E_CONFIG', `'${file}' is not recognised as a config of ${FORMATS.map(({ title }) => title).join(', ')}`, {
      where: file, remedy: `Its keys are ${keys.slice(0, 6).join(', ') || 'none'}. Say which it is: --from-format ${IMPORT_FORMATS.join(' | ')}.`,
    });
  }
  return best.format;
}

function readKeys(file: string): Readonly<Record<string, unknown>> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'does not exist' : `cannot be read: ${(error as Error).message}`;
    throw new FulltuneError('E_FILE', `the config '${file}' ${reason}`, { where: '--from', cause: error, remedy: `It was looked for from ${process.cwd()}.` });
  }
  const document = parseDocument(text, { prettyErrors: false, version: '1.1' });
  const [error] = document.errors;
  if (error !== undefined) throw new FulltuneError('E_CONFIG', `this is no valid YAML or JSON: ${error.message}`, { where: file, remedy: 'Give the YAML or JSON file that the other trainer reads.' });
  const value: unknown = document.toJS();
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new FulltuneError('E_CONFIG', 'this is no list of keys with values', { where: file, remedy: 'Give the YAML or JSON file that the other trainer reads.' });
  return value as Readonly<Record<string, unknown>>;
}
