import { describe, expect, it } from 'vitest';
import { decodeElements, encodeElements } from '../../graph/dtype.ts';
import type { Arena } from '../device.ts';
import type { Operand, Program } from '../program.ts';
import { createReferenceDevice } from './reference-device.ts';

const device = createReferenceDevice();

function operand(offset: number): Operand {
  return { dtype: 'f32', shape: [4], offset };
}

/** y ← x + x at 64, then x ← y + y at 0. */
const program: Program = {
  name: 'twice',
  instructions: [[0, 64], [64, 0]].map(([from = 0, to = 0]) => ({
    op: 'add',
    inputs: [operand(from), operand(from)],
    outputs: [operand(to)],
    attrs: {},
    workspace: { offset: 0, bytes: 0 },
    phase: 'forward' as const,
    scope: '',
  })),
  arenaBytes: 128,
  inputs: { x: operand(0) },
  outputs: { x: operand(0) },
  commitIndex: 1,
};

async function arenaWith(values: readonly number[]): Promise<Arena> {
  const arena = await device.allocate(128);
  arena.write(0, encodeElements('f32', values));
  return arena;
}

describe('reference device', () => {
  it('runs a program over its arena', async () => {
    const arena = await arenaWith([1, 2, 3, 4]);
    const loaded = arena.load(program);
    expect(await loaded.run()).toMatchObject({ completed: true });
    expect([...decodeElements('f32', arena.read(0, 16))]).toEqual([4, 8, 12, 16]);
    expect(loaded.timings()).toHaveLength(2);
  });

  it('rounds into the dtype of each operand', async () => {
    const arena = await arenaWith([2 ** -30, 0, 0, 0]);
    arena.write(16, encodeElements('f32', [1]));
    const [first] = program.instructions;
    if (first === undefined) throw new Error('no instruction');
    const single = (offset: number): Operand => ({ ...operand(offset), shape: [1] });
    const sum = { ...first, inputs: [single(0), single(16)], outputs: [single(64)] };
    await arena.load({ ...program, instructions: [sum] }).run();
    expect(decodeElements('f32', arena.read(64, 4))[0]).toBe(1);
  });

  it('stops before the commit when cancelled', async () => {
    const arena = await arenaWith([1, 2, 3, 4]);
    expect(await arena.load(program).run({ signal: AbortSignal.abort() })).toMatchObject({ completed: false });
    expect([...decodeElements('f32', arena.read(0, 16))]).toEqual([1, 2, 3, 4]);
  });

  it('converts on the way in and out', async () => {
    const arena = await arenaWith([0, 0, 0, 0]);
    arena.writeConverted(0, 'f32', encodeElements('bf16', [1.5, -2, 0.1, 3]), 'bf16');
    expect([...decodeElements('f32', arena.read(0, 16))]).toEqual([1.5, -2, 0.10009765625, 3]);
    expect([...decodeElements('f16', arena.readConverted(0, 'f32', 4, 'f16'))]).toEqual([1.5, -2, 0.10009765625, 3]);
    const odd = new Uint8Array(9);
    odd.set(encodeElements('f32', [7, 8]), 1);
    arena.writeConverted(0, 'bf16', odd.subarray(1), 'f32');
    expect([...decodeElements('bf16', arena.read(0, 4))]).toEqual([7, 8]);
  });

  it('refuses what lies outside the arena, and everything after free', async () => {
    const arena = await device.allocate(128);
    expect(() => arena.read(120, 16)).toThrow(RangeError);
    expect(() => arena.write(-4, new Uint8Array(4))).toThrow(RangeError);
    expect(() => arena.load({ ...program, arenaBytes: 4096 })).toThrow(RangeError);
    arena.fill(0, 128, 7);
    expect(arena.read(127, 1)[0]).toBe(7);
    arena.free();
    expect(() => arena.read(0, 4)).toThrow(/freed/);
  });

  it('measures some speed', async () => {
    expect(await device.measurePeak()).toBeGreaterThan(1e6);
  });
});
