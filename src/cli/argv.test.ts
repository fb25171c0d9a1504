import { describe, expect, it } from 'vitest';
import { CONFIG_KEYS, keyInfo } from '../run/config-schema.ts';
import { normaliseArgv, SWITCHES } from './argv.ts';
import { flagOf } from './config-flags.ts';

describe('normaliseArgv', () => {
  it('takes _ for - in names, not in values', () => {
    expect(normaliseArgv(['train', 'my_run.yaml', '--max_length', '8', '--output_dir=runs/my_run', '--', '--max_length'])).toEqual(
      ['train', 'my_run.yaml', '--max-length', '8', '--output-dir=runs/my_run', '--', '--max_length']);
  });

  it('turns switches with a value into switches', () => {
    expect(normaliseArgv(['--packing=false', '--shuffle=true', '--train_on_inputs=false', '--seed=1', '--model=true'])).toEqual(
      ['--no-packing', '--shuffle', '--no-train-on-inputs', '--seed=1', '--model=true']);
    for (const key of CONFIG_KEYS) expect(SWITCHES.has(flagOf(key)), key).toBe(keyInfo(key).type === 'boolean');
  });

  it('knows the other name of eval_fraction', () => {
    expect(normaliseArgv(['--eval-split', '5%', '--eval_split=5%'])).toEqual(['--eval-fraction', '5%', '--eval-fraction=5%']);
  });
});
