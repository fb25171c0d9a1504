/** Every key of RunConfig as a flag of a commander command, with the schema's description, and back from flags to a checked config. */

import { Option, type Command } from 'commander';
import { ALIASES } from '../run/aliases.ts';
import { checkValue, CONFIG_KEYS, keyInfo, parsePartialConfig, type ConfigKey, type KeyInfo, type OnAlias } from '../run/config-schema.ts';
import { SETTINGS_DEFAULTS } from '../run/resolve-settings.ts';
import type { RunConfig } from '../run/run-config.ts';

/** How help and docs group the keys; the compiler refuses a key that is in no group. */
const GROUP_OF: Readonly<Record<ConfigKey, string>> = {
  model: 'Model and data', dataset: 'Model and data', eval_dataset: 'Model and data', eval_fraction: 'Model and data', output_dir: 'Model and data',
  max_length: 'Rows', overlong: 'Rows', packing: 'Rows', shuffle: 'Rows', train_on_inputs: 'Rows', chat_template: 'Rows',
  train_batch_size: 'Batch', train_batch_tokens: 'Batch', per_device_train_batch_size: 'Batch', gradient_accumulation_steps: 'Batch',
  memory: 'Memory', allow: 'Memory', gradient_checkpointing: 'Memory', optimizer_in_backward: 'Memory', bf16: 'Memory', fp16: 'Memory', bf16_weights: 'Memory',
  chunked_loss: 'Memory',
  freeze: 'Training', optim: 'Training', adam_beta1: 'Training', adam_beta2: 'Training', adam_epsilon: 'Training', adafactor_beta1: 'Training', optim_8bit_embeddings: 'Training', sgd_momentum: 'Training',
  weight_decay: 'Training', learning_rate: 'Training', lr_scheduler_type: 'Training', warmup_steps: 'Training', warmup_ratio: 'Training',
  max_grad_norm: 'Training', num_train_epochs: 'Training', max_steps: 'Training', seed: 'Training',
  logging_steps: 'Reports and checkpoints', eval_steps: 'Reports and checkpoints', save_steps: 'Reports and checkpoints',
  load_best_model_at_end: 'Reports and checkpoints', early_stopping_patience: 'Reports and checkpoints',
  save_total_limit: 'Reports and checkpoints', save_dtype: 'Reports and checkpoints',
  engine: 'PyTorch', python: 'PyTorch', nproc_per_node: 'PyTorch', nnodes: 'PyTorch', rdzv_endpoint: 'PyTorch', rank_timeout: 'PyTorch', sharding: 'PyTorch', cpu_offload: 'PyTorch',
  attn_implementation: 'PyTorch', torch_compile: 'PyTorch',
  device: 'Machine', threads: 'Machine', offload_optimizer_state: 'Machine', offload_activation_layers: 'Machine',
};

export function groupOf(key: ConfigKey): string {
  return GROUP_OF[key];
}

/** `max_length` → `--max-length`. */
export function flagOf(key: string): string {
  return `--${key.replaceAll('_', '-')}`;
}

/** The default as text; undefined where the description says it. */
export function defaultText(key: ConfigKey): string | undefined {
  const value = (SETTINGS_DEFAULTS as Readonly<Record<string, string | number | boolean | readonly string[]>>)[key];
  if (value === undefined) return undefined;
  if (typeof value === 'object') return value.length === 0 ? 'none' : value.join(', ');
  return typeof value === 'number' && value !== 0 && value < 1e-3 ? value.toExponential() : String(value);
}

const PLACEHOLDER: Readonly<Record<KeyInfo['type'], string>> = {
  text: '<text>', integer: '<n>', number: '<x>', boolean: '', list: '<pattern>', choice: '<word>',
};

/** Adds the flags of `keys` (default: all) to a command. A switch gets its `--no-` form too. */
export function addConfigFlags(command: Command, keys: readonly ConfigKey[] = CONFIG_KEYS): Command {
  for (const info of keys.map(keyInfo)) for (const option of optionsOf(info)) command.addOption(option.helpGroup(`${GROUP_OF[info.key]}:`));
  for (const [alias, key] of aliasesOf(command, keys)) for (const option of optionsOf(keyInfo(key), flagOf(alias))) command.addOption(option.hideHelp());
  return command;
}

/** Names of other trainers for these keys, but for those that the verb has a flag of its own by. */
function aliasesOf(command: Command, keys: readonly ConfigKey[]): readonly (readonly [alias: string, key: ConfigKey])[] {
  return Object.entries(ALIASES).filter(([alias, key]) => keys.includes(key) && !command.options.some(({ long }) => long === flagOf(alias)));
}

function optionsOf(info: KeyInfo, flag = flagOf(info.key)): readonly Option[] {
  if (info.type === 'boolean') {
    const byDefault = defaultText(info.key);
    const [shown, other] = [`--no-${flag.slice(2)}`, flag];
    if (byDefault === undefined) return [new Option(other, info.description), new Option(shown, `Turns ${other} off.`)];
    return byDefault === 'true'
      ? [new Option(other, `${info.description} (default)`), new Option(shown, `Turns ${other} off.`)]
      : [new Option(other, info.description), new Option(shown, `Turns ${other} off. (default)`)];
  }
  const value = defaultText(info.key);
  const choices = info.type === 'choice' ? ` One of ${info.choices.join(', ')}.` : '';
  const percent = info.key === 'eval_fraction' ? ' Also --eval-split 5%.' : '';
  const option = new Option(`${flag} ${PLACEHOLDER[info.type]}`, `${info.description}${choices}${percent}${value === undefined ? '' : ` (default: ${value})`}`);
  return [option.argParser((text: string, before: unknown) => readFlag(info, text, before))];
}

/** Text of a flag as a value of its type; what is not a number stays text, so that the check names it. */
function readFlag(info: KeyInfo, text: string, before: unknown): unknown {
  const value = info.type === 'list' ? [...(Array.isArray(before) ? before : []), text] : readScalar(info, text);
  checkValue(info.key, value, 'flags', flagOf);
  return value;
}

function readScalar({ key, type }: KeyInfo, text: string): unknown {
  if (type !== 'integer' && type !== 'number') return text;
  const percent = key === 'eval_fraction' ? /^(\d+(?:\.\d+)?) ?%$/.exec(text) : null;
  if (percent !== null) return Number(percent[1]) / 100;
  return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) ? Number(text) : text;
}

/** What the flags of a parsed command set, checked. */
export function configFromFlags(command: Command, keys: readonly ConfigKey[] = CONFIG_KEYS, onAlias?: OnAlias): Partial<RunConfig> {
  const options = command.opts<Readonly<Record<string, unknown>>>();
  const names = [...keys, ...Object.entries(ALIASES).flatMap(([alias, key]) => (keys.includes(key) ? [alias] : []))];
  const set = names.map((name) => [name, options[attributeOf(name)]] as const).filter(([, value]) => value !== undefined);
  return parsePartialConfig(Object.fromEntries(set), 'flags', onAlias);
}

/** commander's name of a flag's value: `adam_beta1` → `adamBeta1`. */
function attributeOf(key: string): string {
  return key.replace(/_([a-z0-9])/g, (_match, letter: string) => letter.toUpperCase());
}
