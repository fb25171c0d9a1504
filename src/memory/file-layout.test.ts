import { describe, expect, it } from 'vitest';
import type { Graph, Value } from '../graph/graph.ts';
import { placeRegions } from './file-layout.ts';

const region = (name: string, size: number, persistent: boolean): Value =>
  ({ id: 0, name, dtype: 'f32', shape: [size], storage: persistent ? 'optimizer-state' : 'activation', persistent, scope: '' });
const graph = (...regions: Value[]): Graph => ({ values: [], nodes: [], inputs: [], outputs: {}, constants: {}, regions });

describe('placeRegions', () => {
  it('keeps what lasts at one place by its name, below what does not', () => {
    const { persistent, offsets, bytes } = placeRegions([
      graph(region('x', 100, false), region('y', 2000, false)),
      graph(region('b', 1025, true), region('z', 10, false), region('a', 1, true)),
      graph(region('a', 1, true)),
    ]);
    expect([...persistent].map(([name, { at }]) => [name, at])).toEqual([['a', 0], ['b', 4096]]);
    expect(offsets).toEqual([[12288, 16384], [4096, 12288, 0], [0]]);
    expect(bytes).toBe(16384 + 8192);
  });

  it('needs nothing for graphs without regions', () => {
    expect(placeRegions([{ values: [], nodes: [], inputs: [], outputs: {}, constants: {} }])).toEqual({ persistent: new Map(), offsets: [[]], bytes: 0 });
  });

  it('refuses one name with two types', () => {
    expect(() => placeRegions([graph(region('a', 1, true)), graph(region('a', 2, true))])).toThrow(/'a' in the file is f32\[1\] in one program and f32\[2\] in another/);
  });
});
