import { describe, expect, it } from 'vitest';
import { ALIASES } from './aliases.ts';
import { CONFIG_KEYS, parseConfig, parsePartialConfig } from './config-schema.ts';
import { configFromYaml } from './config-yaml.ts';

describe('aliases', () => {
  it('are no names of our own', () => {
    expect(Object.keys(ALIASES).filter((alias) => (CONFIG_KEYS as readonly string[]).includes(alias))).toEqual([]);
  });

  it('are taken with a notice that says which key was meant', () => {
    const notices: string[] = [];
    expect(parseConfig({ base_model: 'm', train_file: 'd.jsonl', micro_batch_size: 2, sample_packing: true, cutoff_len: 128, seed: 1 }, 'run.yaml', (notice) => notices.push(notice)))
      .toEqual({ model: 'm', dataset: 'd.jsonl', per_device_train_batch_size: 2, packing: true, max_length: 128, seed: 1 });
    expect(notices).toEqual([
      'run.yaml: base_model means model here', 'run.yaml: train_file means dataset here', 'run.yaml: micro_batch_size means per_device_train_batch_size here',
      'run.yaml: sample_packing means packing here', 'run.yaml: cutoff_len means max_length here',
    ]);
  });

  it('say where in a file', () => {
    const notices: string[] = [];
    expect(configFromYaml('model: m\n\nsequence_len: 64\n', 'run.yaml', (notice) => notices.push(notice))).toEqual({ model: 'm', max_length: 64 });
    expect(notices).toEqual(['run.yaml:3:1: sequence_len means max_length here']);
  });

  it('beside the key itself, or beside each other, are a mistake, also where the values agree', () => {
    expect(() => parsePartialConfig({ max_length: 64, sequence_len: 64 }, 'f')).toThrow('max_length and sequence_len both set max_length');
    expect(() => parsePartialConfig({ cutoff_len: 64, sequence_len: 64 }, 'f')).toThrow('cutoff_len and sequence_len both set max_length');
    expect(() => configFromYaml('sequence_len: 64\nmax_length: 32\n', 'run.yaml')).toThrow(expect.objectContaining({ where: 'run.yaml:2:1', message: 'sequence_len and max_length both set max_length' }) as Error);
  });

  it('have the limits of the key', () => {
    expect(() => parsePartialConfig({ sequence_len: 1 }, 'f')).toThrow('sequence_len (max_length) is 1; it must be a whole number from 2 to 1048576');
    expect(() => parsePartialConfig({ val_set_size: 500 }, 'f')).toThrow('val_set_size (eval_fraction) is 500; it must be a number from 0 to 0.5');
  });
});
