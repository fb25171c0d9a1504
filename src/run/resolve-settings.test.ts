import { describe, expect, it } from 'vitest';
import { FulltuneError } from '../base/errors.ts';
import { ALLOWABLE } from './run-config.ts';
import { resolveSettings, SETTINGS_DEFAULTS } from './resolve-settings.ts';
import type { RunConfig } from './run-config.ts';

const base = { model: 'm', dataset: 'd.jsonl' };
const resolve = (more: Partial<RunConfig>) => resolveSettings({ ...base, ...more });

describe('resolveSettings', () => {
  it('fills in the defaults and keeps what is set', () => {
    expect(resolve({})).toEqual({ ...base, ...SETTINGS_DEFAULTS, train_batch_size: 8 });
    expect(resolve({ packing: false, seed: 7, threads: 3 })).toMatchObject({ packing: false, seed: 7, threads: 3 });
  });

  it('splits plain text and truncates everything else', () => {
    expect(resolve({ dataset: 'a/B.TXT' }).overlong).toBe('split');
    expect(resolve({ dataset: 'a.txt', overlong: 'error' }).overlong).toBe('error');
    expect(resolve({ dataset: 'a.json' }).overlong).toBe('truncate');
  });

  it('folds the names of the optimizer', () => {
    for (const optim of ['adamw', 'adamw_torch', 'adamw_torch_fused']) expect(resolve({ optim }).optim).toBe('adamw');
    for (const optim of ['adamw_8bit', 'adamw_bnb_8bit', 'adamw_torch_8bit']) expect(resolve({ optim }).optim).toBe('adamw_8bit');
    for (const optim of ['adamw_4bit', 'adamw_torch_4bit']) expect(resolve({ optim }).optim).toBe('adamw_4bit');
    expect([resolve({ optim: 'sgd' }).optim, resolve({ optim: 'lion_32bit' }).optim, resolve({}).optim]).toEqual(['sgd', 'lion', undefined]);
    expect(() => resolve({ optim: 'adam' })).toThrow("optim is 'adam'");
  });

  it('refuses keys of another optimizer, unless that one is allowed', () => {
    expect(() => resolve({ adafactor_beta1: 0.9 })).toThrow('adafactor_beta1 is 0.9, but the optimizer is adamw');
    expect(() => resolve({ optim: 'adafactor', adam_beta1: 0.8 })).toThrow('adam_beta1 is 0.8');
    expect(resolve({ optim: 'adafactor', adafactor_beta1: 0.9 }).adafactor_beta1).toBe(0.9);
    expect(resolve({ allow: ['adamw_8bit'], optim_8bit_embeddings: true }).allow).toEqual(['adamw_8bit']);
    expect(resolve({ optim: 'adamw_4bit', adam_beta1: 0.8, adam_epsilon: 1e-6 }).adam_beta1).toBe(0.8);
    expect(() => resolve({ optim: 'adamw_4bit', optim_8bit_embeddings: true })).toThrow('optim_8bit_embeddings is true, but the optimizer is adamw_4bit');
  });

  it('reads allow as names, none or all', () => {
    expect(resolve({ allow: ['bf16,adamw_8bit'] }).allow).toEqual(['adamw_8bit', 'bf16']);
    expect(resolve({ allow: ['none'] }).allow).toEqual([]);
    expect(resolve({ allow: ['all'] }).allow).toEqual([...ALLOWABLE]);
    expect(() => resolve({ allow: ['fp8'] })).toThrow("allow names 'fp8'");
    expect(() => resolve({ allow: ['none', 'bf16'] })).toThrow('allow says none and bf16');
  });

  it.each([
    [{}, 8],
    [{ train_batch_size: 12 }, 12],
    [{ train_batch_tokens: 4096 }, undefined],
    [{ per_device_train_batch_size: 3, gradient_accumulation_steps: 5 }, 15],
    [{ per_device_train_batch_size: 3, gradient_accumulation_steps: 5, train_batch_size: 15 }, 15],
    [{ per_device_train_batch_size: 3 }, 8],
    [{ per_device_train_batch_size: 16 }, 16],
    [{ gradient_accumulation_steps: 4 }, 8],
    [{ gradient_accumulation_steps: 5 }, 10],
    [{ gradient_accumulation_steps: 16 }, 16],
    [{ train_batch_size: 7, gradient_accumulation_steps: 4 }, 7],
  ] as const)('rows per update of %j', (config, rows) => {
    expect(resolve(config).train_batch_size).toBe(rows);
  });

  it.each<[Partial<RunConfig>, string]>([
    [{ train_batch_size: 8, train_batch_tokens: 4096 }, 'train_batch_size 8 and train_batch_tokens 4096 both set'],
    [{ train_batch_tokens: 4096, per_device_train_batch_size: 2, gradient_accumulation_steps: 2 }, '2 × gradient_accumulation_steps 2 = 4'],
    [{ train_batch_size: 10, per_device_train_batch_size: 2, gradient_accumulation_steps: 4 }, '= 8 rows per update, but train_batch_size is 10'],
    [{ train_batch_size: 2, per_device_train_batch_size: 4 }, 'per_device_train_batch_size 4 is more than train_batch_size 2'],
    [{ train_batch_size: 8, gradient_accumulation_steps: 5 }, '8 rows per update cannot be cut into 5 micro-batches'],
    [{ warmup_steps: 1, warmup_ratio: 0.1 }, 'warmup_steps 1 and warmup_ratio 0.1'],
    [{ warmup_steps: 5, lr_scheduler_type: 'constant' }, 'constant has no warm-up'],
    [{ warmup_ratio: 0.5, lr_scheduler_type: 'constant' }, 'constant has no warm-up'],
    [{ warmup_steps: 50, max_steps: 20 }, 'warmup_steps 50 is more than max_steps 20'],
    [{ eval_dataset: 'e.jsonl', eval_fraction: 0.1 }, "eval_dataset 'e.jsonl' and eval_fraction 0.1"],
    [{ eval_steps: 5 }, 'eval_steps is 5, but there is nothing to evaluate on'],
    [{ bf16: true, fp16: true }, 'bf16 and fp16 are both set'],
    [{ sgd_momentum: 0.5 }, 'sgd_momentum is 0.5, but the optimizer is adamw'],
    [{ optim: 'sgd', adam_beta1: 0.8 }, 'adam_beta1 is 0.8, but the optimizer is sgd'],
    [{ optim: 'sgd', adam_beta2: 0.8 }, 'adam_beta2 is 0.8, but the optimizer is sgd'],
    [{ optim: 'sgd', adam_epsilon: 1e-6 }, 'adam_epsilon is 0.000001, but the optimizer is sgd'],
  ])('refuses %j', (config, message) => {
    expect(() => resolve(config)).toThrow(message);
    expect(() => resolve(config)).toThrow(FulltuneError);
  });

  it('changes nothing the second time', () => {
    for (const config of [{}, { optim: 'sgd' }, { eval_dataset: 'e.jsonl', eval_steps: 3 }, { gradient_accumulation_steps: 5 }, { lr_scheduler_type: 'constant' as const }]) {
      const once = resolve(config);
      expect(resolveSettings(once)).toEqual(once);
    }
  });
});
