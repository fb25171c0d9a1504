import { describe, expect, it } from 'vitest';
import { tomlText, yamlText } from './config-text.ts';

describe('yamlText', () => {
  it('is read by YAML 1.1 as it is meant', () => {
    expect(yamlText({ a: 'no', b: 'yes', c: 'off', d: 1e-8, e: 2.5e-7, f: 0.001, g: true, h: 'on', i: [1e-9], j: { k: '1e-8' }, l: 1e21, m: 'a: b', o: null }))
      .toBe('a: "no"\nb: "yes"\nc: "off"\nd: 1.0e-8\ne: 2.5e-7\nf: 0.001\ng: true\nh: "on"\ni:\n  - 1.0e-9\nj:\n  k: "1e-8"\nl: 1.0e+21\nm: "a: b"\no: null\n');
  });
});

describe('tomlText', () => {
  it('groups keys by section, in order', () => {
    const values = new Map<string, string | number | boolean | readonly string[]>([['a.x', 1], ['b.y', 'it "is"'], ['a.z', true], ['b.l', ['p', 'q']]]);
    expect(tomlText(values)).toBe('[a]\nx = 1\nz = true\n\n[b]\ny = "it \\"is\\""\nl = ["p","q"]\n');
  });
});
