/** How persistent values leave the arena: in pieces, through one buffer. */

import { expect, it } from 'vitest';
import { createCpuDevice } from '../devices/cpu/cpu-device.ts';
import { decodeElements, encodeElements } from '../graph/dtype.ts';
import { TrainingState } from './training-state.ts';

const COUNT = 700_000;

async function stateWith(values: readonly number[]): Promise<TrainingState> {
  const value = { id: 0, name: 'w', dtype: 'f32' as const, shape: [COUNT], storage: 'parameter' as const, persistent: true, scope: '' };
  const bytes = Math.ceil((4 * COUNT) / 64) * 64;
  const memory = { alignment: 64, persistent: new Map([['w', { value, offset: 0 }]]), persistentBytes: bytes, programs: [], arenaBytes: bytes, filed: new Map(), fileBytes: 0, peakLiveBytes: bytes };
  const state = await TrainingState.create(createCpuDevice({ threads: 1 }), memory, new Map());
  state.arena.write(0, encodeElements('f32', values));
  return state;
}

it('gives all elements in order, in pieces of at most 1 MiB of one buffer', async () => {
  const values = Array.from({ length: COUNT }, (_, i) => i);
  const state = await stateWith(values);
  for (const dtype of ['f32', 'bf16'] as const) {
    const buffers = new Set<ArrayBufferLike>();
    const seen: number[] = [];
    for (const piece of state.pieces('w', dtype)) {
      buffers.add(piece.buffer);
      expect(piece.byteLength).toBeLessThanOrEqual(2 ** 20);
      for (const element of decodeElements(dtype, piece)) seen.push(element);
    }
    expect(buffers.size).toBe(1);
    expect(seen).toEqual([...decodeElements(dtype, encodeElements(dtype, values))]);
  }
  state.free();
});

it('gives readers at the same time a buffer each', async () => {
  const state = await stateWith([1, 2, 3]);
  expect([...state.pieces('w', 'f32')]).toHaveLength(3); // leaves its buffer for the next
  const [a, b] = [state.pieces('w', 'f32'), state.pieces('w', 'f32')].map((pieces) => pieces.next().value as Uint8Array);
  expect(a!.buffer).not.toBe(b!.buffer);
  state.free();
});
