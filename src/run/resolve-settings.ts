/** RunConfig → Settings: static defaults filled in, other names of the optimizer folded, contradictions refused. Resolving twice changes nothing. */

import { parseBytes } from '../base/bytes.ts';
import { FulltuneError } from '../base/errors.ts';
import { OPTIMIZER_NAMES, type ConfigKey } from './config-schema.ts';
import { ALLOWABLE, type Allowable, type OptimizerName, type RunConfig, type Settings } from './run-config.ts';

type Defaults = Pick<Settings, { [K in keyof Settings]-?: undefined extends Settings[K] ? never : K }[Exclude<keyof Settings, 'model' | 'dataset'>]>;

/** Defaults that depend on nothing but the kind of dataset: `overlong` is `split` for .txt files. */
export const SETTINGS_DEFAULTS: Defaults = {
  eval_fraction: 0,
  overlong: 'truncate',
  packing: true,
  shuffle: true,
  train_on_inputs: false,
  allow: [],
  freeze: [],
  adam_beta1: 0.9,
  adam_beta2: 0.999,
  adam_epsilon: 1e-8,
  adafactor_beta1: 0,
  optim_8bit_embeddings: false,
  sgd_momentum: 0.9,
  weight_decay: 0,
  learning_rate: 2e-5,
  lr_scheduler_type: 'linear',
  max_grad_norm: 1,
  num_train_epochs: 3,
  logging_steps: 1,
  load_best_model_at_end: false,
  save_total_limit: 2,
  save_dtype: 'source',
  seed: 42,
  engine: 'auto',
  device: 'cpu',
};

/** Rows per update when no key says anything about the batch. */
export const DEFAULT_ROWS_PER_UPDATE = 8;

/** `optim` under its one name. Throws E_CONFIG for a name that there is not. */
export function optimizerName(optim: string): OptimizerName {
  const names: Readonly<Record<string, OptimizerName>> = OPTIMIZER_NAMES;
  const name = Object.hasOwn(names, optim) ? names[optim] : undefined;
  if (name === undefined) throw new FulltuneError('E_CONFIG', `optim is '${optim}'; it must be one of ${Object.keys(names).join(', ')}`, { where: 'optim' });
  return name;
}

const ADAMW_NAMES = ['adamw', 'adamw_8bit', 'adamw_4bit'] as const;

/** The keys that belong to some optimizers only. */
const OPTIMIZER_KEYS = {
  adam_beta1: [...ADAMW_NAMES, 'lion'], adam_beta2: [...ADAMW_NAMES, 'lion'], adam_epsilon: ADAMW_NAMES,
  adafactor_beta1: ['adafactor'], optim_8bit_embeddings: ['adamw_8bit'], sgd_momentum: ['sgd'],
} as const satisfies Partial<Record<ConfigKey, readonly OptimizerName[]>>;

/** `none`, `all`, or names, with commas between or as a list. */
function allowed(names: readonly string[] = []): readonly Allowable[] {
  const words = names.flatMap((name) => name.split(',')).map((name) => name.trim().replaceAll('-', '_')).filter((name) => name !== '');
  if (words.includes('all')) return [...ALLOWABLE];
  const unknown = words.find((word) => word !== 'none' && !(ALLOWABLE as readonly string[]).includes(word));
  if (unknown !== undefined) throw new FulltuneError('E_CONFIG', `allow names '${unknown}'`, { where: 'allow', remedy: `It takes none, all, or some of ${ALLOWABLE.join(', ')}.` });
  if (words.includes('none') && words.length > 1) throw new FulltuneError('E_CONFIG', `allow says none and ${words.filter((word) => word !== 'none').join(', ')}`, { where: 'allow', remedy: 'Keep one of them.' });
  return ALLOWABLE.filter((name) => words.includes(name));
}

function contradiction(message: string, keys: readonly ConfigKey[], remedy: string): FulltuneError {
  return new FulltuneError('E_CONFIG', message, { where: keys.join(', '), remedy });
}

/**
 * Rows per update; undefined when train_batch_tokens says it. A micro-batch or a number of accumulation steps that is given alone is
 * kept: the rows become as many as it needs.
 */
function rowsPerUpdate(config: RunConfig): number | undefined {
  const { train_batch_size: rows, train_batch_tokens: tokens, per_device_train_batch_size: micro, gradient_accumulation_steps: steps } = config;
  if (rows !== undefined && tokens !== undefined) {
    throw contradiction(`train_batch_size ${rows} and train_batch_tokens ${tokens} both set the rows per update`, ['train_batch_size', 'train_batch_tokens'], 'Keep one of them.');
  }
  if (micro !== undefined && steps !== undefined) {
    const product = micro * steps;
    const sum = `per_device_train_batch_size ${micro} × gradient_accumulation_steps ${steps} = ${product} rows per update`;
    const keys = ['per_device_train_batch_size', 'gradient_accumulation_steps'] as const;
    if (tokens !== undefined) throw contradiction(`${sum}, and train_batch_tokens ${tokens} sets them too`, [...keys, 'train_batch_tokens'], 'Leave one of the three out.');
    if (rows !== undefined && rows !== product) {
      throw contradiction(`${sum}, but train_batch_size is ${rows}`, [...keys, 'train_batch_size'], `Set train_batch_size to ${product}, or leave one of the three out.`);
    }
    return product;
  }
  if (tokens !== undefined) return undefined;
  if (rows === undefined) {
    if (micro !== undefined) return Math.max(DEFAULT_ROWS_PER_UPDATE, micro);
    if (steps === undefined || cutsInto(DEFAULT_ROWS_PER_UPDATE, steps)) return DEFAULT_ROWS_PER_UPDATE;
    return steps * Math.ceil(DEFAULT_ROWS_PER_UPDATE / steps);
  }
  if (micro !== undefined && micro > rows) {
    throw contradiction(`per_device_train_batch_size ${micro} is more than train_batch_size ${rows}`, ['per_device_train_batch_size', 'train_batch_size'],
      'A micro-batch is a part of the rows of an update.');
  }
  if (steps !== undefined && !cutsInto(rows, steps)) {
    throw contradiction(`${rows} rows per update cannot be cut into ${steps} micro-batches of one size`, ['train_batch_size', 'gradient_accumulation_steps'],
      `Set train_batch_size to ${steps * Math.ceil(rows / steps)}, or leave gradient_accumulation_steps out.`);
  }
  return rows;
}

/** Whether `steps` equal micro-batches, the last one filled up, hold `rows` with none of them empty. */
function cutsInto(rows: number, steps: number): boolean {
  return Math.ceil(rows / Math.ceil(rows / steps)) === steps;
}

function refuseContradictions(config: RunConfig, optim: OptimizerName, allow: readonly Allowable[]): void {
  const { warmup_steps: steps, warmup_ratio: ratio, eval_dataset: evalData, eval_fraction: fraction = 0, lr_scheduler_type: schedule } = config;
  if (steps !== undefined && ratio !== undefined) {
    throw contradiction(`warmup_steps ${steps} and warmup_ratio ${ratio} both set the warm-up`, ['warmup_steps', 'warmup_ratio'], 'Keep one of them.');
  }
  if (schedule === 'constant' && ((steps ?? 0) > 0 || (ratio ?? 0) > 0)) {
    throw contradiction('lr_scheduler_type constant has no warm-up', ['lr_scheduler_type', steps === undefined ? 'warmup_ratio' : 'warmup_steps'],
      'Use constant_with_warmup, or leave the warm-up out.');
  }
  if (steps !== undefined && config.max_steps !== undefined && steps > config.max_steps) {
    throw contradiction(`warmup_steps ${steps} is more than max_steps ${config.max_steps}`, ['warmup_steps', 'max_steps'], 'Warm-up is a part of the run.');
  }
  if (evalData !== undefined && fraction > 0) {
    throw contradiction(`eval_dataset '${evalData}' and eval_fraction ${fraction} both say what to evaluate on`, ['eval_dataset', 'eval_fraction'], 'Keep one of them.');
  }
  if (config.eval_steps !== undefined && evalData === undefined && fraction === 0) {
    throw contradiction(`eval_steps is ${config.eval_steps}, but there is nothing to evaluate on`, ['eval_steps'], 'Set eval_dataset or eval_fraction.');
  }
  if (config.bf16 === true && config.fp16 === true) {
    throw contradiction('bf16 and fp16 are both set: activations have one type', ['bf16', 'fp16'], 'Keep one of them; bf16 needs no loss scale.');
  }
  const evaluates = evalData !== undefined || fraction > 0;
  for (const key of ['load_best_model_at_end', 'early_stopping_patience'] as const) {
    if (!evaluates && config[key] !== undefined && config[key] !== false) {
      throw contradiction(`${key} is ${config[key]}, but there is nothing to evaluate on`, [key], 'Set eval_dataset or eval_fraction.');
    }
  }
  for (const [key, kinds] of Object.entries(OPTIMIZER_KEYS) as [keyof typeof OPTIMIZER_KEYS, readonly OptimizerName[]][]) {
    const value = config[key];
    // An optimizer that is only allowed may use its keys, too.
    const mayUse = kinds.includes(optim) || (config.optim === undefined && kinds.some((kind) => (allow as readonly string[]).includes(kind)));
    if (value !== undefined && value !== SETTINGS_DEFAULTS[key] && !mayUse) {
      throw contradiction(`${key} is ${value}, but the optimizer is ${optim}`, [key, 'optim'], `Leave ${key} out, or use optim ${kinds.join(' or ')}.`);
    }
  }
}

/** Fills in what depends on nothing but the config. Throws E_CONFIG for settings that contradict each other. */
export function resolveSettings(config: RunConfig): Settings {
  const { optim: named, ...others } = config;
  const optim = named === undefined ? undefined : optimizerName(named);
  const allow = allowed(config.allow);
  refuseContradictions(config, optim ?? 'adamw', allow);
  const rows = rowsPerUpdate(config);
  const overlong = config.dataset.toLowerCase().endsWith('.txt') ? 'split' : SETTINGS_DEFAULTS.overlong;
  if (config.memory !== undefined) parseBytes(config.memory, 'memory');
  return { ...SETTINGS_DEFAULTS, overlong, ...others, ...(optim === undefined ? {} : { optim }), allow, ...(rows === undefined ? {} : { train_batch_size: rows }) };
}
