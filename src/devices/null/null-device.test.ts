import { describe, expect, it } from 'vitest';
import type { DeviceSpec } from '../device.ts';
import type { Instruction, Program } from '../program.ts';
import { createNullDevice } from './null-device.ts';

const spec: DeviceSpec = { name: 'cpu', threads: 7, alignment: 128, workspaceBytes: (op, inputs) => (op === 'attention' ? 1000 * inputs.length : 0) };
const program: Program = { name: 'empty', instructions: [], arenaBytes: 2 ** 45, inputs: {}, outputs: {}, commitIndex: 0 };

describe('null device', () => {
  const device = createNullDevice(spec);

  it('plans like the device it stands for', () => {
    expect(device).toMatchObject({ name: 'null', threads: 7, alignment: 128 });
    expect(device.workspaceBytes('attention', [{ dtype: 'f32', shape: [1] }], [], {})).toBe(1000);
    expect(device.workspaceBytes('add', [], [], {})).toBe(0);
  });

  it('holds no memory: 32 TiB are no trouble, and read as zeros', async () => {
    const arena = await device.allocate(2 ** 45);
    arena.write(2 ** 44, Uint8Array.of(1, 2, 3));
    expect(arena.read(2 ** 44, 3)).toEqual(new Uint8Array(3));
    expect(arena.readConverted(0, 'bf16', 5, 'f32')).toEqual(new Uint8Array(20));
    arena.writeConverted(0, 'f32', new Uint8Array(4), 'bf16');
    arena.fill(0, 2 ** 45, 0);
    expect(() => arena.read(2 ** 45 - 1, 2)).toThrow(RangeError);
    expect(() => arena.writeConverted(2 ** 45 - 4, 'f32', new Uint8Array(4), 'bf16')).toThrow(RangeError);
    arena.free();
  });

  it('keeps no file either, and checks what would be moved', async () => {
    const arena = await device.allocate(1024);
    const write: Instruction = { op: 'offload_write', inputs: [{ dtype: 'f32', shape: [8], offset: 0 }], outputs: [{ dtype: 'i32', shape: [1], offset: 64 }], attrs: { at: 2 ** 45 }, workspace: { offset: 0, bytes: 0 }, phase: 'update', scope: '' };
    const writes = { ...program, arenaBytes: 1024, instructions: [write] };
    expect(() => arena.load(writes)).toThrow(RangeError);
    arena.attachFile({ directory: '/nowhere', bytes: 2 ** 45 + 32 });
    expect(arena.fileBytes).toBe(2 ** 45 + 32);
    expect(await arena.load(writes).run()).toMatchObject({ completed: true });
    expect(arena.readFile(2 ** 45, 32)).toEqual(new Uint8Array(32));
    arena.writeFile(0, new Uint8Array(10));
    expect(() => arena.readFile(2 ** 45, 33)).toThrow(RangeError);
    expect(() => arena.load({ ...writes, instructions: [{ ...write, attrs: { at: 2 ** 45 + 1 } }] })).toThrow(RangeError);
  });

  it('runs nothing', async () => {
    const loaded = (await device.allocate(2 ** 45)).load(program);
    expect(await loaded.run()).toEqual({ completed: true, milliseconds: 0 });
    expect(await loaded.run({ signal: AbortSignal.abort() })).toMatchObject({ completed: false });
    expect(loaded.timings()).toHaveLength(0);
  });

  it('refuses a program that is larger than its arena', async () => {
    const arena = await device.allocate(100);
    expect(() => arena.load(program)).toThrow(/needs/);
  });
});
