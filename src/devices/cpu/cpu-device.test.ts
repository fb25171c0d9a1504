/** The device itself: running, cancelling, refusing. What the kernels compute is in conformance.test.ts. */

import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { FulltuneError } from '../../base/errors.ts';
import { decodeElements, encodeElements, fromBf16Bits, fromF16Bits, toBf16Bits, toF16Bits } from '../../graph/dtype.ts';
import { tensor } from '../../graph/shape.ts';
import type { Arena, Device } from '../device.ts';
import type { Program } from '../program.ts';
import { createCpuDevice } from './cpu-device.ts';
import { loadNative } from './loader.ts';
import { Layout, programOf, runOp, step } from './testing/run-op.ts';

const device = createCpuDevice({ threads: 2 });

/** x ← x + x·0 …: `instructions` adds over `count` floats, the output in place. */
async function longProgram(on: Device, count: number, instructions: number, commitIndex = instructions): Promise<{ arena: Arena; program: Program }> {
  const layout = new Layout();
  const x = layout.place(tensor('f32', count));
  const one = layout.place(tensor('f32', count));
  const add = step(on, layout, { op: 'add', inputs: [x, one], outputs: [x] });
  const arena = await on.allocate(layout.bytes);
  arena.writeConverted(one.offset, 'f32', encodeElements('f32', new Float32Array(count).fill(1)), 'f32');
  return { arena, program: programOf(layout, Array.from({ length: instructions }, () => add), commitIndex) };
}

const first = (arena: Arena): number => decodeElements('f32', arena.read(0, 4))[0] ?? NaN;

describe('a program', () => {
  it('runs product, norm and update end to end, with a time for each instruction', async () => {
    const layout = new Layout();
    const place = (...shape: number[]) => layout.place(tensor('f32', ...shape));
    const [x, w, y, gain, normed, rstd] = [place(1, 2, 3), place(3, 2), place(1, 2, 2), place(2), place(1, 2, 2), place(1, 2, 1)];
    const [p, m, v, rate, scale] = [place(2, 2), place(2, 2), place(2, 2), place(1), place(1)];
    const count = layout.place(tensor('i32', 1));
    const arena = await device.allocate(1 << 20);
    const gradient = { ...normed, shape: [2, 2] };
    const program = programOf(layout, [
      step(device, layout, { op: 'matmul_nn', inputs: [x, w], outputs: [y], attrs: { bias: 0 } }),
      step(device, layout, { op: 'rmsnorm', inputs: [y, gain], outputs: [normed, rstd], attrs: { epsilon: 0 } }),
      step(device, layout, {
        op: 'adamw', inputs: [p, gradient, m, v, rate, count, scale], outputs: [p, m, v],
        attrs: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, first: 0, seed: 0 },
      }),
    ], 2);
    const write = (offset: number, dtype: 'f32' | 'i32', values: number[]): void => arena.write(offset, encodeElements(dtype, values));
    write(x.offset, 'f32', [1, 2, 3, 4, 5, 6]);
    write(w.offset, 'f32', [1, 0, 0, 1, 1, 1]);
    write(gain.offset, 'f32', [1, 2]);
    write(p.offset, 'f32', [1, 1, 1, 1]);
    write(rate.offset, 'f32', [0.5]);
    write(scale.offset, 'f32', [1]);
    write(count.offset, 'i32', [1]);
    const loaded = arena.load(program);
    const status = await loaded.run();
    expect(status.completed).toBe(true);
    expect([...decodeElements('f32', arena.read(y.offset, 16))]).toEqual([4, 5, 10, 11]);
    const root = Math.sqrt((16 + 25) / 2);
    expect(decodeElements('f32', arena.read(normed.offset, 8))[1]).toBeCloseTo(2 * 5 / root, 6);
    // the first step of AdamW is the learning rate, whatever the gradient
    expect([...decodeElements('f32', arena.read(p.offset, 16))].every((value) => Math.abs(value - 0.5) < 1e-5)).toBe(true);
    expect(loaded.timings()).toHaveLength(3);
    expect(loaded.timings().every((ms) => ms > 0)).toBe(true);
    expect(loaded.timings().reduce((sum, ms) => sum + ms)).toBeLessThanOrEqual(status.milliseconds);
    arena.free();
  });

  // the limits are those of a machine that does nothing else: another process may spoil a trial
  it('gives the event loop its turn and answers a cancel at once', { retry: 3 }, async () => {
    const { arena, program } = await longProgram(device, 1 << 22, 4000);
    const loaded = arena.load(program);
    const delays: number[] = [];
    const finished = new AbortController();
    const watch = (async () => {
      while (!finished.signal.aborted) {
        const before = performance.now();
        await sleep(1);
        delays.push(performance.now() - before);
      }
    })();
    const controller = new AbortController();
    const run = loaded.run({ signal: controller.signal });
    await sleep(600);
    const before = performance.now();
    controller.abort();
    const status = await run;
    const answered = performance.now() - before;
    finished.abort();
    await watch;
    expect(status.completed).toBe(false);
    expect(first(arena)).toBeLessThan(4000);
    expect(first(arena)).toBeGreaterThan(0);
    expect(answered).toBeLessThan(50);
    delays.sort((a, b) => a - b);
    expect(delays.length).toBeGreaterThan(20);
    expect(delays[Math.floor(delays.length * 0.99)]).toBeLessThan(20);
    // and it can run again
    expect(await loaded.run({ signal: AbortSignal.abort() })).toEqual({ completed: false, milliseconds: 0 });
    arena.free();
  });

  it('is not cancelled once it has begun to change state', async () => {
    const { arena, program } = await longProgram(device, 1 << 20, 300, 0);
    const controller = new AbortController();
    const run = arena.load(program).run({ signal: controller.signal });
    await sleep(20);
    controller.abort();
    expect((await run).completed).toBe(true);
    expect(first(arena)).toBe(300);
    arena.free();
  });

  it('stops before the commit index or not at all', async () => {
    for (let trial = 0; trial < 20; trial++) {
      const { arena, program } = await longProgram(device, 1 << 16, 40, 20);
      const controller = new AbortController();
      const run = arena.load(program).run({ signal: controller.signal });
      setTimeout(() => controller.abort(), trial % 4);
      const { completed } = await run;
      if (completed) expect(first(arena)).toBe(40);
      else expect(first(arena)).toBeLessThanOrEqual(20);
      arena.free();
    }
  });

  it('has the arena to itself', async () => {
    const { arena, program } = await longProgram(device, 1 << 20, 200);
    const loaded = arena.load(program);
    const run = loaded.run();
    await expect(loaded.run()).rejects.toThrow('running in this arena');
    expect(() => arena.read(0, 4)).toThrow('running in this arena');
    expect(() => arena.write(0, new Uint8Array(4))).toThrow('running in this arena');
    expect(() => arena.free()).toThrow('running in this arena');
    expect(() => arena.load(program)).toThrow('running in this arena');
    await run;
    arena.free();
    expect(() => arena.read(0, 4)).toThrow('freed');
    await expect(loaded.run()).rejects.toThrow('freed');
  });

  it('can be cancelled while it waits for another one', async () => {
    const [long, short] = await Promise.all([longProgram(device, 1 << 20, 600), longProgram(device, 1 << 10, 1)]);
    const controller = new AbortController();
    const first600 = long.arena.load(long.program).run();
    await sleep(5);
    const waiting = short.arena.load(short.program).run({ signal: controller.signal });
    const before = performance.now();
    controller.abort();
    expect(await waiting).toEqual({ completed: false, milliseconds: 0 });
    expect(performance.now() - before).toBeLessThan(50);
    expect((await first600).completed).toBe(true);
    long.arena.free();
    short.arena.free();
  });

  it('takes denormals for zero on every thread', async () => {
    const x = tensor('f32', 1 << 18);
    const values = [new Float32Array(1 << 18).fill(1e-30), [1e-10]];
    const [product] = await runOp(device, { op: 'scale', inputs: [x, tensor('f32', 1)], values, outputs: [x] });
    expect(product?.every((byte) => byte === 0)).toBe(true);
  });

  it('shares the threads with programs in other arenas', async () => {
    const runs = await Promise.all([longProgram(device, 1 << 18, 50), longProgram(device, 1 << 18, 70)]);
    await Promise.all(runs.map(({ arena, program }) => arena.load(program).run()));
    expect(runs.map(({ arena }) => first(arena))).toEqual([50, 70]);
    runs.forEach(({ arena }) => arena.free());
  });
});

describe('a wrong program is refused when it is loaded', () => {
  const add = { op: 'add', attrs: {}, workspace: { offset: 0, bytes: 0 }, phase: 'forward', scope: 'layers.3' } as const;
  const x = { dtype: 'f32', shape: [4], offset: 0 } as const;
  const program = (instruction: object, more: object = {}): Program =>
    ({ name: 'wrong', instructions: [{ ...add, inputs: [x, x], outputs: [x], ...instruction }], arenaBytes: 64, inputs: {}, outputs: {}, commitIndex: 0, ...more });
  const cases: readonly (readonly [string, Program, RegExp])[] = [
    ['unknown op', program({ op: 'teleport' }), /no kernel for op 'teleport'/],
    ['unknown attribute', program({ attrs: { speed: 1 } }), /knows no attribute 'speed'/],
    ['missing attribute', program({ op: 'gelu', inputs: [x] }), /needs the attribute 'tanh'/],
    ['too few inputs', program({ inputs: [x] }), /number of inputs is 1/],
    ['too many outputs', program({ outputs: [x, x] }), /number of outputs is 2/],
    ['bf16 for a kernel of f32', program({ inputs: [x, { ...x, dtype: 'bf16' }] }), /input 1 is bf16/],
    ['beyond the arena', program({ outputs: [{ ...x, shape: [17] }] }), /outside the arena/],
    ['crooked offset', program({ outputs: [{ ...x, offset: 4 }] }), /not a multiple of 64/],
    ['negative offset', program({ outputs: [{ ...x, offset: -64 }] }), /offset is -64/],
    ['size 0', program({ outputs: [{ ...x, shape: [0] }] }), /a size is 0/],
    ['fractional size', program({ outputs: [{ ...x, shape: [1.5] }] }), /a size is 1.5/],
    ['huge sizes', program({ outputs: [{ ...x, shape: [2 ** 40, 2 ** 40] }] }), /tensor of/],
    ['five axes', program({ outputs: [{ ...x, shape: [1, 1, 1, 1, 1] }] }), /a rank is 5/],
    ['workspace beyond the arena', program({ workspace: { offset: 0, bytes: 1 << 20 } }), /workspace ends at byte/],
    ['no workspace where one is needed', program({ op: 'sum_squares', inputs: [x], outputs: [{ ...x, shape: [1] }] }), /needs 8 bytes of workspace/],
    ['operands that do not fit each other', program({ inputs: [x, { ...x, shape: [3] }] }), /instruction 0 \(add\): b /],
    ['an output of another shape', program({ outputs: [{ ...x, shape: [3] }] }), /output 0 is f32\[3\], and its inputs make f32\[4\]/],
    ['larger arena', program({}, { arenaBytes: 1 << 30 }), /needs an arena of/],
    ['commit index', program({}, { commitIndex: 2 }), /commit index/],
  ];
  it.each(cases)('%s', async (_, wrong, message) => {
    const arena = await device.allocate(64);
    let error: unknown;
    try {
      arena.load(wrong);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(FulltuneError);
    expect(error).toMatchObject({ code: 'E_DEVICE', message: expect.stringMatching(message) as unknown, where: expect.stringContaining("program 'wrong'") as unknown });
    arena.free();
  });
});

describe('an arena', () => {
  it('is zero, and takes and gives bytes within its bounds only', async () => {
    const arena = await device.allocate(1000);
    expect(arena.read(0, 1000).every((byte) => byte === 0)).toBe(true);
    arena.write(998, Uint8Array.of(7, 9));
    arena.fill(10, 3, 255);
    expect([...arena.read(8, 6)]).toEqual([0, 0, 255, 255, 255, 0]);
    expect([...arena.read(997, 3)]).toEqual([0, 7, 9]);
    for (const wrong of [() => arena.read(999, 2), () => arena.write(1000, new Uint8Array(1)), () => arena.fill(-1, 1, 0), () => arena.fill(0, 1001, 0),
      () => arena.read(NaN, 1), () => arena.read(0.5, 1), () => arena.read(Infinity, 1), () => arena.fill(0, 1, 256),
      () => arena.writeConverted(998, 'f32', new Uint8Array(2), 'bf16'), () => arena.writeConverted(0, 'f32', new Uint8Array(3), 'bf16')]) {
      expect(wrong).toThrow(RangeError);
    }
    expect(() => arena.writeConverted(0, 'i32', new Uint8Array(4), 'f32')).toThrow(TypeError);
    expect(arena.read(1000, 0)).toHaveLength(0);
    arena.free();
  });

  it('converts as dtype.ts does, all 16-bit patterns and floats of every kind', async () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const arena = await device.allocate(65536 * 4);
    for (const [dtype, from, to] of [['bf16', fromBf16Bits, toBf16Bits], ['f16', fromF16Bits, toF16Bits]] as const) {
      arena.writeConverted(0, 'f32', new Uint8Array(all.buffer), dtype);
      const floats = decodeElements('f32', arena.read(0, 65536 * 4));
      expect(floats.findIndex((value, bits) => !Object.is(value, from(bits)))).toBe(-1);
      const step16 = Uint32Array.from({ length: 65536 }, (_, i) => Math.imul(i, 0x9e3779b1) >>> 0);
      const awkward = [0x00000001, 0x007fffff, 0x33000000, 0x33000001, 0x387fe000, 0x387ff000, 0x38800000, 0x477fefff, 0x477ff000, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x3f808000, 0x3f818000, 0x80000000];
      step16.set(awkward);
      arena.write(0, new Uint8Array(step16.buffer));
      const halves = new Uint16Array(arena.readConverted(0, 'f32', 65536, dtype).buffer);
      const values = new Float32Array(step16.buffer);
      const wrong = halves.findIndex((bits, i) => bits !== to(values[i] ?? 0) && !Number.isNaN(values[i]));
      expect(wrong).toBe(-1);
      expect(values.every((value, i) => Number.isNaN(value) === Number.isNaN(from(halves[i] ?? 0)))).toBe(true);
    }
    arena.free();
  });

  it('is refused when the machine has less memory', async () => {
    await expect(device.allocate(2 ** 46)).rejects.toMatchObject({ code: 'E_BUDGET', message: expect.stringMatching(/needs 64\.00 TiB, the (machine|container) has .* free/) as unknown });
  });
});

describe('the device', () => {
  it('describes itself and refuses what it is not', () => {
    const best = loadNative().targets().filter(({ supported }) => supported).at(-1)?.name ?? '';
    expect(createCpuDevice({ threads: 1 }).description).toBe(`cpu (${best}, 1 thread)`);
    expect(() => createCpuDevice({ isa: 'sse9' })).toThrow(/'sse9' is no instruction set/);
    expect(() => createCpuDevice({ threads: 0 })).toThrow(/0 threads/);
    const absent = loadNative().targets().find(({ supported }) => !supported);
    if (absent !== undefined) expect(() => createCpuDevice({ isa: absent.name })).toThrow(/does not run/);
  });

  it('obeys FULLTUNE_ISA and FULLTUNE_THREADS', () => {
    const before = { ...process.env };
    try {
      for (const { name, supported } of loadNative().targets()) {
        if (!supported) continue;
        process.env['FULLTUNE_ISA'] = name;
        process.env['FULLTUNE_THREADS'] = '3';
        expect(createCpuDevice().description).toBe(`cpu (${name}, 3 threads)`);
      }
      process.env['FULLTUNE_ISA'] = 'mmx';
      expect(() => createCpuDevice()).toThrow(/mmx/);
    } finally {
      process.env = before;
    }
  });

  it('measures a plausible peak that grows with threads', async () => {
    const one = await createCpuDevice({ threads: 1 }).measurePeak();
    expect(one).toBeGreaterThan(1e9);
    expect(one).toBeLessThan(1e12);
  });

  it('gives the same bits on 1, 2 and 3 threads', async () => {
    const values = (count: number, seed: number): Float32Array => Float32Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898 + seed) * 3);
    const [rows, length, width] = [2, 401, 200];
    const x = tensor('f32', rows, length, width);
    const weight = tensor('f32', width);
    const rstd = tensor('f32', rows, length, 1);
    const lse = tensor('f32', rows, length);
    const count = rows * length * width;
    const ids = tensor('i32', rows, length);
    const idValues = Int32Array.from({ length: rows * length }, (_, i) => (i * 7919) % 50);
    const table = tensor('f32', 50, width);
    const cases = [
      { op: 'rmsnorm', inputs: [x, weight], values: [values(count, 1), values(width, 2)], outputs: [x, rstd], attrs: { epsilon: 1e-5 } },
      { op: 'rmsnorm_weight_gradient', inputs: [x, rstd, x], values: [values(count, 1), values(rows * length, 2), values(count, 3)], outputs: [weight], attrs: { width, accumulate: 0 } },
      { op: 'column_sum', inputs: [x], values: [values(count, 1)], outputs: [weight], attrs: { accumulate: 0 } },
      { op: 'sum_squares', inputs: [x], values: [values(count, 4)], outputs: [tensor('f32', 1)] },
      { op: 'swiglu', inputs: [x, x], values: [values(count, 1), values(count, 5)], outputs: [x] },
      { op: 'embedding_backward', inputs: [ids, x], values: [idValues, values(count, 6)], outputs: [table], attrs: { vocabulary: 50, mode: 0 } },
      { op: 'embedding_backward', inputs: [ids, x, table], values: [idValues, values(count, 6), values(50 * width, 7)], outputs: [table], attrs: { vocabulary: 50, mode: 2 } },
      { op: 'cross_entropy', inputs: [x, ids, tensor('f32', 1)], values: [values(count, 8), idValues, [0.01]], outputs: [tensor('f32', rows), lse] },
    ];
    for (const one of cases) {
      const results: Uint8Array[][] = [];
      for (const threads of [1, 2, 3]) results.push(await runOp(createCpuDevice({ threads }), one));
      expect(results.map((outputs) => outputs.every((bytes, i) => Buffer.compare(bytes, results[0]?.[i] ?? new Uint8Array()) === 0)), one.op).toEqual([true, true, true]);
    }
  });
});
