/**
 * Every key of RunConfig with its range and its one description: flags' help, docs/cli.md and config.schema.json come from here.
 * Errors name the key, the value and the limit; a misspelt key is told with the nearest right one.
 */

import { z } from 'zod';
import { FulltuneError, nearest } from '../base/errors.ts';
import { aliasNotice, aliasOf, bothGiven } from './aliases.ts';
import { ALLOWABLE, type OptimizerName, type RunConfig } from './run-config.ts';

const text = (): z.ZodString => z.string().min(1);
const count = (most: number): z.ZodInt => z.int().min(1).max(most);
const flag = (): z.ZodBoolean => z.boolean();

/** One schema per key of RunConfig; the compiler refuses a key too many, a key too few and a type that differs. */
/** Names of the optimizers, and what each means. */
export const OPTIMIZER_NAMES = {
  adamw: 'adamw', adamw_torch: 'adamw', adamw_torch_fused: 'adamw', adamw_8bit: 'adamw_8bit', adamw_bnb_8bit: 'adamw_8bit', adamw_torch_8bit: 'adamw_8bit',
  adamw_4bit: 'adamw_4bit', adamw_torch_4bit: 'adamw_4bit',
  adafactor: 'adafactor', lion: 'lion', lion_32bit: 'lion', sgd: 'sgd',
} as const satisfies Readonly<Record<string, OptimizerName>>;

const shape = {
  model: text().describe('Folder in Hugging Face format, or the id of a model in the local Hugging Face cache.'),
  dataset: text().describe('Training data: a .jsonl, .json or .txt file.'),
  eval_dataset: text().describe('Data to evaluate on: a .jsonl, .json or .txt file.').exactOptional(),
  eval_fraction: z.number().min(0).max(0.5)
    .describe('Share of the documents of dataset that is kept out of training, drawn by seed, and evaluated on.').exactOptional(),
  output_dir: text().describe('Run directory. Default: runs/MODEL-DATASET-N.').exactOptional(),

  max_length: z.int().min(2).max(1_048_576)
    .describe('Longest row in tokens. Default: the least of 1024, the limit of the model, and the longest document rounded up to 64.').exactOptional(),
  overlong: z.enum(['truncate', 'split', 'error'])
    .describe('What happens to documents longer than max_length: cut off, split into several, or refused. Default for .txt files: split.').exactOptional(),
  packing: flag().describe('Several documents per row, attention and positions kept apart.').exactOptional(),
  shuffle: flag().describe('A new order of documents each epoch.').exactOptional(),
  train_on_inputs: flag().describe('Loss on all tokens instead of assistant or completion tokens only.').exactOptional(),
  chat_template: text().describe('chatml, or a file with a Jinja template. Default: the template of the model.').exactOptional(),

  train_batch_size: count(1_048_576)
    .describe('Rows per update (packed rows when packing). Default: 8, or as many as the two keys of the micro-batch make.').exactOptional(),
  train_batch_tokens: count(1_073_741_824)
    .describe('Instead of train_batch_size: tokens per update, rounded down to whole rows.').exactOptional(),
  per_device_train_batch_size: count(65_536).describe('Rows per micro-batch. Default: chosen.').exactOptional(),
  gradient_accumulation_steps: count(65_536).describe('Micro-batches per update. Default: chosen.').exactOptional(),

  memory: text().describe('What the process may hold in all, such as 8GiB. Default: 80 % of what machine and container have free.').exactOptional(),
  allow: z.array(text()).readonly()
    .describe(`Techniques that change the numbers and may be chosen where nothing else fits: none, all, or names with commas between (${ALLOWABLE.join(', ')}); adamw_4bit on the torch engine only.`).exactOptional(),
  gradient_checkpointing: flag()
    .describe('true: of each layer only the input is kept, and backward computes the rest again; false: nothing is computed again. Default: chosen.').exactOptional(),
  optimizer_in_backward: flag().describe('Each parameter changes as soon as its gradient is complete. Default: chosen.').exactOptional(),

  bf16: flag().describe('Activations and their gradients in bfloat16; weights, sums, logits and loss stay float32.').exactOptional(),
  fp16: flag().describe('Activations and their gradients in float16, with a dynamic loss scale.').exactOptional(),
  bf16_weights: flag().describe('Matrices and embeddings in bfloat16 alone, without float32 masters.').exactOptional(),
  chunked_loss: flag().describe('Output projection and loss in slices of tokens: the logits never exist whole. Same bits. Default: chosen.').exactOptional(),

  freeze: z.array(text()).readonly().describe('Names of parameters that are not trained; * matches anything. May be given several times.').exactOptional(),
  optim: (z.enum(Object.keys(OPTIMIZER_NAMES) as [string, ...string[]]) as z.ZodType<string>)
    .describe('Optimizer: adamw, adamw_8bit, adamw_4bit (torch engine only), adafactor, lion or sgd; the others are names that transformers has for them. Default: adamw.').exactOptional(),
  adafactor_beta1: z.number().min(0).lt(1).describe('Decay of a first moment of adafactor; 0: there is none.').exactOptional(),
  optim_8bit_embeddings: flag().describe('Eight-bit moments for embeddings too, with adamw_8bit.').exactOptional(),
  adam_beta1: z.number().min(0).lt(1).describe('Decay of the first moment of adamw.').exactOptional(),
  adam_beta2: z.number().min(0).lt(1).describe('Decay of the second moment of adamw.').exactOptional(),
  adam_epsilon: z.number().gt(0).max(1).describe('Added to the root of the second moment of adamw.').exactOptional(),
  sgd_momentum: z.number().min(0).lt(1).describe('Momentum of sgd.').exactOptional(),
  weight_decay: z.number().min(0).max(1)
    .describe('Weight decay, decoupled for adamw; on tensors of two or more axes only.').exactOptional(),
  learning_rate: z.number().gt(0).max(10).describe('Highest learning rate of the schedule.').exactOptional(),
  lr_scheduler_type: z.enum(['linear', 'cosine', 'constant', 'constant_with_warmup'])
    .describe('How the learning rate falls over the run.').exactOptional(),
  warmup_steps: z.int().min(0).max(1_000_000_000).describe('Steps of linear warm-up. Default: 0.').exactOptional(),
  warmup_ratio: z.number().min(0).max(1).describe('Instead of warmup_steps: warm-up as a share of all steps.').exactOptional(),
  max_grad_norm: z.number().min(0).max(1e9).describe('Gradients are scaled down to this global norm; 0 turns it off.').exactOptional(),
  num_train_epochs: z.number().gt(0).max(1_000_000).describe('Passes over the data.').exactOptional(),
  max_steps: count(1_000_000_000).describe('Stops after so many updates, whatever num_train_epochs says.').exactOptional(),

  logging_steps: count(1_000_000_000).describe('Report every so many steps.').exactOptional(),
  eval_steps: count(1_000_000_000).describe('Evaluate every so many steps. Default: each epoch and at the end.').exactOptional(),
  load_best_model_at_end: flag()
    .describe('Keep the checkpoint with the lowest evaluation loss, and finish with its weights.').exactOptional(),
  early_stopping_patience: count(1_000_000)
    .describe('Stop after so many evaluations in a row without a lower loss. Default: never.').exactOptional(),
  save_steps: count(1_000_000_000).describe('Write a checkpoint every so many steps. Default: each epoch and at the end.').exactOptional(),
  save_total_limit: count(1_000_000).describe('Checkpoints kept, the newest.').exactOptional(),
  save_dtype: z.enum(['source', 'float32', 'bfloat16', 'float16'])
    .describe('Element type of the weights in model/; source: that of the base model.').exactOptional(),
  seed: z.int().min(0).max(4_294_967_295).describe('Seed of the order of documents and of the evaluation share.').exactOptional(),

  engine: z.enum(['auto', 'embedded', 'torch'])
    .describe('embedded: needs no Python, on the CPU; torch: PyTorch, on GPUs or the CPU; auto: torch where a GPU and a PyTorch that works are, else embedded.').exactOptional(),
  python: text().describe('Python of the torch engine. Default: FULLTUNE_PYTHON, else python3.').exactOptional(),
  nproc_per_node: count(1024).describe('Ranks on each node, torch engine. Default: one per GPU, or 1.').exactOptional(),
  nnodes: count(65_536).describe('Nodes, torch engine; they share the folder of the run. Default: 1.').exactOptional(),
  rdzv_endpoint: z.string().regex(/^[^\s/]+:\d{1,5}$/).describe('host:port where the ranks of all nodes meet; the host is one of the nodes.').exactOptional(),
  rank_timeout: z.int().min(1).max(86_400).describe('Seconds without a sign of life after which a run on the torch engine is ended. Default: 600.').exactOptional(),
  sharding: z.enum(['none', 'ddp', 'zero2', 'fsdp'])
    .describe('How ranks share the model: ddp copies it, fsdp shards parameters, gradients and optimizer state, zero2 gathers parameters once per step. Default: none on one rank, fsdp on more.').exactOptional(),
  cpu_offload: flag().describe('Shards of parameters and optimizer state live in the memory of the host; with sharding fsdp. Default: false.').exactOptional(),
  attn_implementation: z.enum(['sdpa', 'flex_attention', 'eager']).describe('Attention of the torch engine. Default: sdpa.').exactOptional(),
  torch_compile: flag().describe('torch.compile of each layer, torch engine. Default: false.').exactOptional(),

  device: z.enum(['cpu', 'reference']).describe('cpu, or reference: slow, f64 inside, for comparison.').exactOptional(),
  threads: count(1024).describe('Compute threads. Default: all cores. Does not change the result.').exactOptional(),
  offload_optimizer_state: flag().describe('Keep large optimizer state in a file in the run directory instead of in memory. Does not change the result.').exactOptional(),
  offload_activation_layers: z.int().min(0).max(65_536)
    .describe('Keep the saved activations of the first so many layers in that file. Does not change the result.').exactOptional(),
} satisfies { readonly [K in keyof Required<RunConfig>]: z.ZodType<Exclude<RunConfig[K], undefined>> };

/** Keys whose values RunConfig allows and the schema does not: none, or the next line does not compile. */
type Narrower = { [K in keyof Required<RunConfig>]: RunConfig[K] extends z.output<z.ZodObject<typeof shape>>[K] ? never : K }[keyof RunConfig];
type SameAsRunConfig = [Narrower] extends [never] ? z.ZodType<RunConfig> : never;

export const runConfigSchema = z.strictObject(shape).describe('Settings of a fulltune run.') satisfies SameAsRunConfig;

export type ConfigKey = keyof RunConfig;
export const CONFIG_KEYS = Object.keys(shape) as readonly ConfigKey[];

/** What a key takes, read off its schema: flags, help, docs and errors all use it. */
export interface KeyInfo {
  readonly key: ConfigKey;
  readonly description: string;
  readonly type: 'text' | 'integer' | 'number' | 'boolean' | 'list' | 'choice';
  readonly choices: readonly string[];
  /** As in an error: `a whole number from 1 to 1024`. */
  readonly limit: string;
  readonly required: boolean;
}

interface FieldJson {
  readonly description?: string;
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
}

/** Type, limits and description of one key. */
export function keyInfo(key: ConfigKey): KeyInfo {
  const json = z.toJSONSchema(shape[key]) as FieldJson;
  const common = { key, description: json.description ?? '', choices: json.enum ?? [], required: key === 'model' || key === 'dataset' };
  if (json.enum !== undefined) return { ...common, type: 'choice', limit: `one of ${json.enum.join(', ')}` };
  switch (json.type) {
    case 'boolean':
      return { ...common, type: 'boolean', limit: 'true or false' };
    case 'integer':
      return { ...common, type: 'integer', limit: `a whole number ${range(json)}` };
    case 'number':
      return { ...common, type: 'number', limit: `a number ${range(json)}` };
    case 'array':
      return { ...common, type: 'list', limit: 'a list of texts' };
    default:
      return { ...common, type: 'text', limit: key === 'rdzv_endpoint' ? 'host:port' : 'a text that is not empty' };
  }
}

function range(json: FieldJson): string {
  if (json.exclusiveMinimum !== undefined) return `above ${json.exclusiveMinimum}, at most ${json.maximum}`;
  return json.exclusiveMaximum === undefined ? `from ${json.minimum} to ${json.maximum}` : `from ${json.minimum}, below ${json.exclusiveMaximum}`;
}

/** Keys of other trainers that mean the same as one of ours, but not with the same values, or not everywhere: they are told, not taken. */
const RENAMED: ReadonlyMap<string, ConfigKey> = new Map(Object.entries<ConfigKey>({
  data: 'dataset', eval_split: 'eval_fraction', batch_size: 'train_batch_size', output: 'output_dir', global_batch_size: 'train_batch_size',
  assistant_only_loss: 'train_on_inputs', completion_only_loss: 'train_on_inputs', mask_history: 'train_on_inputs',
  neat_packing: 'packing', disable_gradient_checkpointing: 'gradient_checkpointing', pure_bf16: 'bf16_weights', bfloat16: 'bf16_weights', unfrozen_parameters: 'freeze',
}));

/** Keys known from transformers and TRL, or planned here, that this version does not have, with what to do instead. */
const ABSENT: ReadonlyMap<string, string> = new Map(Object.entries({
  tf32: '', gradient_checkpointing_kwargs: 'Use gradient_checkpointing.', report_to: '',
  resume_from_checkpoint: 'To go on with a run: fulltune resume RUN, with --resume-from-checkpoint for an older checkpoint.',
  per_device_eval_batch_size: 'Evaluation uses the rows of a micro-batch.',
  metric_for_best_model: 'The best model is the one with the lowest evaluation loss.', greater_is_better: '', early_stopping_threshold: '',
  eval_strategy: 'Use eval_steps, or leave it out: each epoch and at the end.', evaluation_strategy: 'Use eval_steps.',
  save_strategy: 'Use save_steps, or leave it out: each epoch and at the end.', logging_strategy: 'Use logging_steps.',
  logging_dir: 'events.jsonl in the run directory holds everything that is logged.', run_name: 'Use output_dir.',
  overwrite_output_dir: 'Delete the folder, or name another output_dir.', logging_first_step: '', do_train: '', do_eval: '', do_predict: '',
  push_to_hub: '', hub_model_id: '', hub_token: '', hub_strategy: '', deepspeed: '', fsdp: '', fsdp_config: '', accelerator_config: '', local_rank: '',
  torch_dtype: 'Weights are f32 in memory unless bf16_weights is set; save_dtype is the type on disk.',
  dtype: 'Weights are f32 in memory unless bf16_weights is set; save_dtype is the type on disk.',
  bf16_full_eval: 'Evaluation has the precision of the training.', fp16_full_eval: 'Evaluation has the precision of the training.', fp16_opt_level: '',
  half_precision_backend: '',
  use_cpu: 'Use device.', no_cuda: 'Use device.', trust_remote_code: '', use_liger_kernel: '', use_peft: '', lora_r: '', lora_alpha: '',
  load_in_4bit: '', load_in_8bit: '', neftune_noise_alpha: '', label_smoothing_factor: '', group_by_length: '', length_column_name: '',
  dataloader_num_workers: '', dataloader_drop_last: '', remove_unused_columns: '', lr_scheduler_kwargs: '', optim_args: '', data_seed: 'Use seed.',
  full_determinism: 'Runs are deterministic.', padding_free: '', eval_packing: '', dataset_text_field: '', dataset_num_proc: '', packing_strategy: '',
  save_safetensors: 'Weights are always safetensors.', save_only_model: '', save_on_each_node: '', disable_tqdm: '', log_level: '',
}));

/** What is wrong with a key that RunConfig does not have. */
export function unknownKey(key: string, where: string, spell: (key: string) => string = (name) => name): FulltuneError {
  const snake = key.replace(/-/g, '_').replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  const renamed = RENAMED.get(snake) ?? (snake === key ? undefined : aliasOf(snake));
  if (renamed !== undefined) return new FulltuneError('E_CONFIG', `${spell(key)} is called ${spell(renamed)} here`, { where, remedy: keyInfo(renamed).description });
  const instead = ABSENT.get(snake);
  if (instead !== undefined) {
    const remedy = instead === '' ? 'Leave it out.' : instead;
    return new FulltuneError('E_CONFIG', `this version of fulltune does not have ${spell(key)}`, { where, remedy });
  }
  const near = (CONFIG_KEYS as readonly string[]).includes(snake) ? snake : nearest(key, CONFIG_KEYS);
  const remedy = near === undefined ? 'fulltune train --help lists all keys.' : `Did you mean ${spell(near)}?`;
  return new FulltuneError('E_CONFIG', `unknown key ${spell(key)}`, { where, remedy });
}

function shown(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`;
  return typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value));
}

function isList(key: string): boolean {
  return Object.hasOwn(shape, key) && keyInfo(key as ConfigKey).type === 'list';
}

/** Checks one value; the error reads `threads is 0; it must be a whole number from 1 to 1024`. */
export function checkValue(key: ConfigKey, value: unknown, where: string, spell: (key: string) => string = (name) => name): void {
  if (shape[key].safeParse(value).success) return;
  const { limit } = keyInfo(key);
  if (value === null) {
    throw new FulltuneError('E_CONFIG', `${spell(key)} has no value; it must be ${limit}`, { where, remedy: 'For the default, leave the key out.' });
  }
  throw new FulltuneError('E_CONFIG', `${spell(key)} is ${shown(value)}; it must be ${limit}`, { where, remedy: keyInfo(key).description });
}

/** Hears which key was meant by another trainer's name. */
export type OnAlias = (notice: string) => void;

/**
 * Checks keys and values, all of them optional: one config file, flags, or changes on resume. Keys whose value is undefined count as left out.
 * `where` is a file or `flags`. Names of other trainers (aliases.ts) are brought to ours. Throws E_CONFIG.
 */
export function parsePartialConfig(value: unknown, where: string, onAlias: OnAlias = () => undefined): Partial<RunConfig> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FulltuneError('E_CONFIG', `settings must be keys with values, not ${shown(value)}`, { where, remedy: 'Write it like: model: path/of/model' });
  }
  // One text stands for a list of one.
  const set = new Map<string, { readonly name: string; readonly value: unknown }>();
  for (const [name, given] of Object.entries(value).filter(([, v]) => v !== undefined)) {
    const key = Object.hasOwn(shape, name) ? name : aliasOf(name);
    if (key === undefined) throw unknownKey(name, where);
    const before = set.get(key);
    if (before !== undefined) throw bothGiven(key, [before.name, name], where);
    const listed: unknown = typeof given === 'string' && isList(key) ? [given] : given;
    checkValue(key as ConfigKey, listed, where, (own) => (own === name ? own : `${name} (${own})`));
    if (key !== name) onAlias(aliasNotice(name, key, where));
    set.set(key, { name, value: listed });
  }
  return Object.fromEntries([...set].map(([key, entry]) => [key, entry.value])) as Partial<RunConfig>;
}

/** As parsePartialConfig, but `model` and `dataset` must be there. */
export function parseConfig(value: unknown, where: string, onAlias?: OnAlias): RunConfig {
  const { model, dataset, ...rest } = parsePartialConfig(value, where, onAlias);
  const missing = [...(model === undefined ? ['model'] : []), ...(dataset === undefined ? ['dataset'] : [])];
  if (model === undefined || dataset === undefined) {
    throw new FulltuneError('E_CONFIG', `${missing.join(' and ')} ${missing.length === 1 ? 'is' : 'are'} missing`, {
      where,
      remedy: missing.map((key) => `--${key}: ${keyInfo(key as ConfigKey).description}`).join('\n  '),
    });
  }
  return { model, dataset, ...rest };
}

/** As parseConfig for planning, where data may be left out. The result names no dataset then. */
export function parsePlanConfig(value: unknown, onAlias?: OnAlias): RunConfig {
  const { model, dataset = '', ...rest } = parsePartialConfig(value, 'plan()', onAlias);
  if (model === undefined) throw new FulltuneError('E_CONFIG', 'model is missing', { where: 'plan()', remedy: `--model: ${keyInfo('model').description}` });
  return { model, dataset, ...rest };
}

/** The JSON Schema that editors use for a config file. `defaults` are added to the keys that have one. */
export function configJsonSchema(defaults: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const schema = z.toJSONSchema(runConfigSchema) as { properties: Record<string, Record<string, unknown>> };
  for (const [key, value] of Object.entries(defaults)) {
    const property = schema.properties[key];
    if (property !== undefined) property['default'] = value;
  }
  return schema;
}
