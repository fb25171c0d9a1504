import { describe, expect, it } from 'vitest';
import { FulltuneError } from '../base/errors.ts';
import { CONFIG_KEYS, configJsonSchema, keyInfo, parseConfig, parsePartialConfig, runConfigSchema } from './config-schema.ts';
import { SETTINGS_DEFAULTS } from './resolve-settings.ts';

const base = { model: 'm', dataset: 'd.jsonl' };

function messageOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof FulltuneError && error.code === 'E_CONFIG') return error.toText();
    throw error;
  }
  throw new Error('expected E_CONFIG');
}

describe('parseConfig', () => {
  it('keeps what it is given, and treats undefined as left out', () => {
    expect(parseConfig({ ...base, max_length: 64, freeze: ['a*'], seed: undefined }, 'x')).toEqual({ ...base, max_length: 64, freeze: ['a*'] });
  });

  it('names the nearest right key', () => {
    expect(messageOf(() => parseConfig({ ...base, max_lenght: 64 }, 'run.yaml'))).toBe(
      'E_CONFIG: unknown key max_lenght (run.yaml)\n  Did you mean max_length?');
    expect(messageOf(() => parseConfig({ ...base, maxGradNorm: 64 }, 'run.yaml'))).toContain('Did you mean max_grad_norm?');
    expect(messageOf(() => parseConfig({ ...base, 'max-grad-norm': 1 }, 'run.yaml'))).toContain('Did you mean max_grad_norm?');
    expect(messageOf(() => parseConfig({ ...base, warp_drive: 1 }, 'run.yaml'))).toContain('fulltune train --help lists all keys.');
    expect(messageOf(() => parseConfig({ ...base, constructor: 1 }, 'run.yaml'))).toContain('unknown key constructor');
  });

  it('says of keys of other trainers that they are absent or called otherwise', () => {
    for (const key of ['report_to', 'trust_remote_code', 'resume_from_checkpoint', 'per_device_eval_batch_size']) {
      const text = messageOf(() => parseConfig({ ...base, [key]: true }, 'run.yaml'));
      expect(text).toContain(`this version of fulltune does not have ${key} (run.yaml)`);
      expect(text).not.toContain('Did you mean');
    }
    expect(messageOf(() => parseConfig({ ...base, batch_size: 8 }, 'run.yaml'))).toContain('batch_size is called train_batch_size here');
    expect(messageOf(() => parseConfig({ ...base, baseModel: 'm' }, 'run.yaml'))).toContain('baseModel is called model here');
  });

  it('says which of model and dataset is missing', () => {
    expect(messageOf(() => parseConfig({}, 'flags'))).toContain('model and dataset are missing (flags)');
    expect(messageOf(() => parseConfig({ model: 'm' }, 'flags'))).toContain('dataset is missing (flags)');
    expect(parsePartialConfig({ seed: 1 }, 'flags')).toEqual({ seed: 1 });
  });

  it('refuses what is not a table of keys', () => {
    for (const value of [null, [], 'x', 3]) expect(messageOf(() => parseConfig(value, 'f'))).toContain('settings must be keys with values');
  });

  const outside: readonly (readonly [string, unknown, string])[] = [
    ['model', '', "model is ''; it must be a text that is not empty"],
    ['dataset', 3, 'dataset is 3; it must be a text that is not empty'],
    ['eval_dataset', ['a'], 'eval_dataset is ["a"]; it must be a text that is not empty'],
    ['eval_fraction', 0.6, 'eval_fraction is 0.6; it must be a number from 0 to 0.5'],
    ['output_dir', '', "output_dir is ''"],
    ['max_length', 1, 'max_length is 1; it must be a whole number from 2 to 1048576'],
    ['max_length', 2.5, 'max_length is 2.5; it must be a whole number from 2 to 1048576'],
    ['overlong', 'drop', "overlong is 'drop'; it must be one of truncate, split, error"],
    ['packing', 'yes', "packing is 'yes'; it must be true or false"],
    ['shuffle', 1, 'shuffle is 1; it must be true or false'],
    ['train_on_inputs', 'no', "train_on_inputs is 'no'; it must be true or false"],
    ['chat_template', '', "chat_template is ''"],
    ['train_batch_size', 0, 'train_batch_size is 0; it must be a whole number from 1 to 1048576'],
    ['train_batch_tokens', 1.5, 'train_batch_tokens is 1.5; it must be a whole number from 1 to 1073741824'],
    ['per_device_train_batch_size', 0, 'per_device_train_batch_size is 0; it must be a whole number from 1 to 65536'],
    ['gradient_accumulation_steps', -1, 'gradient_accumulation_steps is -1; it must be a whole number from 1 to 65536'],
    ['bf16', 'yes', "bf16 is 'yes'; it must be true or false"],
    ['fp16', 1, 'fp16 is 1; it must be true or false'],
    ['bf16_weights', 'bf16', "bf16_weights is 'bf16'; it must be true or false"],
    ['chunked_loss', 1, 'chunked_loss is 1; it must be true or false'],
    ['freeze', 3, 'freeze is 3; it must be a list of texts'],
    ['optim', 'adam', "optim is 'adam'; it must be one of adamw, adamw_torch, adamw_torch_fused, adamw_8bit, adamw_bnb_8bit, adamw_torch_8bit, adamw_4bit, adamw_torch_4bit, adafactor, lion, lion_32bit, sgd"],
    ['adam_beta1', 1, 'adam_beta1 is 1; it must be a number from 0, below 1'],
    ['adam_beta2', -0.1, 'adam_beta2 is -0.1; it must be a number from 0, below 1'],
    ['adam_epsilon', 0, 'adam_epsilon is 0; it must be a number above 0, at most 1'],
    ['adafactor_beta1', 1, 'adafactor_beta1 is 1; it must be a number from 0, below 1'],
    ['optim_8bit_embeddings', 1, 'optim_8bit_embeddings is 1; it must be true or false'],
    ['sgd_momentum', 1, 'sgd_momentum is 1; it must be a number from 0, below 1'],
    ['weight_decay', 2, 'weight_decay is 2; it must be a number from 0 to 1'],
    ['learning_rate', 0, 'learning_rate is 0; it must be a number above 0, at most 10'],
    ['learning_rate', '1e-3', "learning_rate is '1e-3'; it must be a number above 0, at most 10"],
    ['learning_rate', Number.NaN, 'learning_rate is NaN'],
    ['lr_scheduler_type', 'polynomial', "lr_scheduler_type is 'polynomial'; it must be one of linear, cosine, constant, constant_with_warmup"],
    ['warmup_steps', -1, 'warmup_steps is -1; it must be a whole number from 0 to 1000000000'],
    ['warmup_ratio', 1.1, 'warmup_ratio is 1.1; it must be a number from 0 to 1'],
    ['max_grad_norm', -1, 'max_grad_norm is -1; it must be a number from 0 to 1000000000'],
    ['num_train_epochs', 0, 'num_train_epochs is 0; it must be a number above 0, at most 1000000'],
    ['max_steps', -1, 'max_steps is -1; it must be a whole number from 1 to 1000000000'],
    ['offload_optimizer_state', 1, 'offload_optimizer_state is 1; it must be true or false'],
    ['offload_activation_layers', -1, 'offload_activation_layers is -1; it must be a whole number from 0 to 65536'],
    ['logging_steps', 0, 'logging_steps is 0; it must be a whole number from 1 to 1000000000'],
    ['eval_steps', 0, 'eval_steps is 0'],
    ['load_best_model_at_end', 1, 'load_best_model_at_end is 1; it must be true or false'],
    ['early_stopping_patience', 0, 'early_stopping_patience is 0; it must be a whole number from 1 to 1000000'],
    ['save_steps', 0, 'save_steps is 0'],
    ['save_total_limit', 0, 'save_total_limit is 0; it must be a whole number from 1 to 1000000'],
    ['save_dtype', 'int8', "save_dtype is 'int8'; it must be one of source, float32, bfloat16, float16"],
    ['memory', '', "memory is ''; it must be a text that is not empty"],
    ['allow', 3, 'allow is 3; it must be a list of texts'],
    ['gradient_checkpointing', 'yes', "gradient_checkpointing is 'yes'; it must be true or false"],
    ['optimizer_in_backward', 1, 'optimizer_in_backward is 1; it must be true or false'],
    ['seed', -1, 'seed is -1; it must be a whole number from 0 to 4294967295'],
    ['engine', 'jax', "engine is 'jax'; it must be one of auto, embedded, torch"],
    ['python', '', "python is ''; it must be a text that is not empty"],
    ['nproc_per_node', 0, 'nproc_per_node is 0; it must be a whole number from 1 to 1024'],
    ['nnodes', 1.5, 'nnodes is 1.5; it must be a whole number from 1 to 65536'],
    ['rdzv_endpoint', 'node', "rdzv_endpoint is 'node'; it must be host:port"],
    ['rank_timeout', 0, 'rank_timeout is 0; it must be a whole number from 1 to 86400'],
    ['sharding', 'zero', "sharding is 'zero'; it must be one of none, ddp, zero2, fsdp"],
    ['cpu_offload', 'yes', "cpu_offload is 'yes'; it must be true or false"],
    ['attn_implementation', 'flash', "attn_implementation is 'flash'; it must be one of sdpa, flex_attention, eager"],
    ['torch_compile', 1, 'torch_compile is 1; it must be true or false'],
    ['device', 'cuda', "device is 'cuda'; it must be one of cpu, reference"],
    ['threads', 0, 'threads is 0; it must be a whole number from 1 to 1024'],
    ['seed', null, 'seed has no value; it must be a whole number'],
  ];
  it.each(outside)('refuses %s = %j', (key, value, message) => {
    expect(messageOf(() => parseConfig({ ...base, [key]: value }, 'run.yaml'))).toContain(`E_CONFIG: ${message}`);
  });

  it('has a refused value for every key', () => {
    expect(new Set(outside.map(([key]) => key))).toEqual(new Set(CONFIG_KEYS));
  });
});

describe('keyInfo', () => {
  it('describes every key in a sentence', () => {
    for (const key of CONFIG_KEYS) expect(keyInfo(key).description, key).toMatch(/^[A-Za-z].*\.$/);
  });
});

describe('configJsonSchema', () => {
  it('has every key, with defaults, and forbids others', () => {
    const schema = configJsonSchema({ ...SETTINGS_DEFAULTS }) as { properties: Record<string, { default?: unknown }>; required: string[]; additionalProperties: boolean };
    expect(Object.keys(schema.properties)).toEqual([...CONFIG_KEYS]);
    expect(schema.properties['learning_rate']?.default).toBe(2e-5);
    expect(schema.required).toEqual(['model', 'dataset']);
    expect(schema.additionalProperties).toBe(false);
    expect(runConfigSchema.safeParse({ ...base, nope: 1 }).success).toBe(false);
    expect(runConfigSchema.safeParse({ ...base, freeze: ['x'] }).success).toBe(true);
  });
});
