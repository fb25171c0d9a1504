import { describe, expect, it } from 'vitest';
import { FulltuneError } from '../base/errors.ts';
import { configFromYaml, configToYaml } from './config-yaml.ts';

function errorOf(text: string): string {
  try {
    configFromYaml(text, 'run.yaml');
  } catch (error) {
    if (error instanceof FulltuneError) return error.toText();
    throw error;
  }
  throw new Error('expected an error');
}

describe('configFromYaml', () => {
  it('reads YAML and JSON', () => {
    expect(configFromYaml('# a run\nmodel: m\nlearning_rate: 1e-3\nfreeze: [a*, b]\npacking: false\n', 'f')).toEqual(
      { model: 'm', learning_rate: 1e-3, freeze: ['a*', 'b'], packing: false });
    expect(configFromYaml('{"model": "m", "max_steps": 5}', 'f')).toEqual({ model: 'm', max_steps: 5 });
    expect(configFromYaml('', 'f')).toEqual({});
    expect(configFromYaml('# nothing\n', 'f')).toEqual({});
  });

  it('names line and column', () => {
    expect(errorOf('model: m\nmax_lenght: 8\n')).toBe('E_CONFIG: unknown key max_lenght (run.yaml:2:1)\n  Did you mean max_length?');
    expect(errorOf('model: m\n\nseed: -1\n')).toContain('seed is -1; it must be a whole number from 0 to 4294967295 (run.yaml:3:1)');
    expect(errorOf('seed:\n')).toContain('seed has no value');
    expect(errorOf('a: [1\nb: 2\n')).toMatch(/^E_CONFIG: this is not valid YAML: .*\(run\.yaml:\d+:\d+\)\n  Settings are lines such as max_length: 512\.$/s);
    expect(() => configFromYaml('{', 'run.json')).toThrowError('this is not valid JSON');
    expect(errorOf('model: a\nmodel: b\n')).toMatch(/unique.*run\.yaml:2:1/s);
    expect(errorOf('- a\n')).toContain('settings must be keys with values');
    expect(errorOf('__proto__: 1\n')).toContain('unknown key __proto__');
  });

  it('reads back what it writes', () => {
    const config = { model: 'a: b', dataset: '# d', learning_rate: 2e-5, adam_epsilon: 1e-8, freeze: ['*', 'x.*'], packing: true };
    expect(configFromYaml(configToYaml(config), 'f')).toEqual(config);
  });
});
