/**
 * What 16-bit activations cost is one rounding per result: from the same numbers, a kernel gives in bf16 and f16 what it gives in f32,
 * rounded to nearest. So sums, norms and softmax are f32 inside.
 */

import { describe, expect, it } from 'vitest';
import { decodeElements, encodeElements, type DType } from '../../graph/dtype.ts';
import { tensor } from '../../graph/shape.ts';
import { headAttrs } from '../../ops/attention.ts';
import { OPS, opOf } from '../../ops/index.ts';
import type { Sample } from '../../ops/op.ts';
import { fillSample } from '../../ops/testing/fill.ts';
import { conformanceOutputs, sameBytes } from '../testing/conformance.ts';
import { createCpuDevice } from './cpu-device.ts';
import { loadNative } from './loader.ts';
import { runOp } from './testing/run-op.ts';

const HALF_TYPES: readonly DType[] = ['bf16', 'f16'];
const targets = loadNative().targets().filter(({ supported }) => supported).map(({ name }) => name);

function isHalf({ dtype }: { readonly dtype: DType }): boolean {
  return HALF_TYPES.includes(dtype);
}

/** Long enough for several chunks of keys, whose shares of dq are added. */
function longAttention(dtype: DType): Sample {
  const [length, heads, keyValueHeads, headWidth] = [900, 3, 1, 20];
  const [q, k] = [tensor(dtype, 1, length, heads * headWidth), tensor(dtype, 1, length, headWidth)];
  return {
    name: `three chunks, ${dtype}`,
    inputs: [q, k, k, tensor('i32', 1, length), q, tensor('f32', 1, length, heads), q],
    attrs: headAttrs({ heads, keyValueHeads, headWidth }),
    fill: (index) => (index === 3 ? Array.from({ length }, (_, t) => (t < 430 ? 0 : 430)) : undefined),
  };
}

/** Wider than a buffer of a kernel; more tokens than are summed at a time, and a rest. */
function wideNorm(dtype: DType): { readonly name: string; readonly sample: Sample }[] {
  const [tokens, width] = [7, 1531];
  const [x, w, s, r] = [tensor(dtype, 1, tokens, width), tensor('f32', width), tensor('f32', 1, tokens), tensor('f32', 1, tokens, 1)];
  const wide: readonly (readonly [string, Sample['inputs'], Sample['attrs']])[] = [
    ['rmsnorm', [x, w], { epsilon: 1e-5 }],
    ['rmsnorm_backward', [x, w, r, x], {}],
    ['rmsnorm_weight_gradient', [x, r, x], { width, accumulate: 0 }],
    ['layernorm', [x, w, w], { epsilon: 1e-5 }],
    ['layernorm_backward', [x, w, s, s, x], {}],
    ['layernorm_weight_gradient', [x, s, s, x], { accumulate: 0 }],
    ['column_sum', [x], { accumulate: 0 }],
    ['rotary', [tensor(dtype, 1, tokens, 2 * 1534), tensor('f32', 1, tokens, 1534)], { inverse: 0 }],
    ['swiglu_backward', [x, x, x], {}],
  ];
  return wide.map(([name, inputs, attrs]) => ({ name, sample: { name: `wide ${dtype}`, inputs, attrs } }));
}

const CASES = [
  ...[...OPS.values()].filter(({ name, attrs }) => name !== 'cast' && !attrs.includes('seed')).flatMap((op) => op.samples.filter(({ inputs }) => inputs.some(isHalf)).map((sample) => ({ op, sample }))),
  ...HALF_TYPES.map((dtype) => ({ op: opOf('attention_backward'), sample: longAttention(dtype) })),
  ...HALF_TYPES.flatMap(wideNorm).map(({ name, sample }) => ({ op: opOf(name), sample })),
];

/** The same elements, all floats stored in f32. */
function wide(sample: Sample): Sample {
  const arrays = fillSample(sample, 7);
  const inputs = sample.inputs.map((type): Sample['inputs'][number] => (isHalf(type) ? { ...type, dtype: 'f32' } : type));
  return { ...sample, inputs, fill: (index) => [...(arrays[index] ?? [])] };
}

it('covers every op of a training step that has activations', () => {
  const covered = new Set(CASES.map(({ op }) => op.name));
  const rest = [...OPS.keys()].filter((name) => !covered.has(name) && !name.startsWith('offload_')).sort();
  expect(rest).toEqual([
    'adafactor', 'adamw', 'adamw_8bit', 'attention_cached', 'cache_write', 'cast', 'cross_entropy', 'cross_entropy_backward', 'global_norm', 'lion', 'ones',
    'rotary_table', 'select_token', 'sgd', 'sum_squares',
  ]);
});

describe.each(targets)('%s', (isa) => {
  const device = createCpuDevice({ isa, threads: 2 });

  it.each([...new Set(CASES.map(({ op }) => op))].map((op) => [op.name, op] as const))('%s rounds once', async (name, op) => {
    for (const { sample } of CASES.filter((one) => one.op === op)) {
      const outputs = await conformanceOutputs(device, { op, sample, name });
      const exact = await conformanceOutputs(device, { op, sample: wide(sample), name });
      op.infer(sample.inputs, sample.attrs).forEach(({ dtype }, index) => {
        const rounded = encodeElements(dtype, decodeElements('f32', exact[index] ?? new Uint8Array()));
        expect(sameBytes(rounded, outputs[index]), `${sample.name}, output ${index}`).toBe(true);
      });
    }
  });

  it.each(HALF_TYPES)('cast from and to %s: every pattern comes back, and between two of them the nearest is taken, ties to even', async (dtype) => {
    const all = decodeElements(dtype, new Uint8Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer)).filter((x) => !Number.isNaN(x));
    const one = async (values: Float64Array, from: DType, to: DType): Promise<Uint8Array> => {
      const attrs = { to: ['f32', 'bf16', 'f16'].indexOf(to) };
      const [bytes] = await runOp(device, { op: 'cast', inputs: [tensor(from, values.length)], outputs: [tensor(to, values.length)], values: [values], attrs });
      return bytes ?? new Uint8Array();
    };
    expect([...decodeElements('f32', await one(all, dtype, 'f32'))]).toEqual([...all]);
    expect(sameBytes(await one(all, 'f32', dtype), encodeElements(dtype, all))).toBe(true);
    const between = Array.from(all.subarray(1)).flatMap((x, i) => [0.5, 0.499, 0.501].map((part) => Math.fround(x + ((all[i] ?? 0) - x) * part))).filter(Number.isFinite);
    expect(sameBytes(await one(Float64Array.from(between), 'f32', dtype), encodeElements(dtype, between))).toBe(true);
  });

  it('rounding a NaN gives a NaN, whatever its bits are and whatever is beside it', async () => {
    const nans = [0x7fffffff, 0xffffffff, 0x7f800001, 0xff800001, 0x7fc00000];
    const bits = Uint32Array.from({ length: 75 }, (_, i) => (i % 7 === 3 ? nans[i % nans.length]! : 0x3f800000 + i * 65536)); // powers of two and sums of two
    const values = new Float32Array(bits.buffer);
    for (const [index, dtype] of [[1, 'bf16'], [2, 'f16']] as const) {
      const types = { inputs: [tensor('f32', bits.length)], outputs: [tensor(dtype, bits.length)] };
      const [y] = await runOp(device, { op: 'cast', ...types, values: [new Uint8Array(bits.buffer)], attrs: { to: index } });
      expect([...decodeElements(dtype, y!)].map(Number.isNaN)).toEqual([...values].map(Number.isNaN));
      if (dtype === 'bf16') expect([...decodeElements(dtype, y!)]).toEqual([...values]);
    }
    const scalars = [tensor('f32', 1), tensor('i32', 1), tensor('f32', 1)];
    const [p] = await runOp(device, {
      op: 'sgd', attrs: { momentum: 0, weightDecay: 0, first: 0, seed: 3 }, inputs: [tensor('bf16', bits.length), tensor('f32', bits.length), ...scalars], outputs: [tensor('bf16', bits.length)],
      values: [new Float32Array(bits.length), new Uint8Array(bits.buffer), [-1], [1], [1]],
    });
    expect([...decodeElements('bf16', p!)]).toEqual([...values]);
  });

  it('an id outside a table in 16 bits gives a row of NaN', async () => {
    for (const dtype of HALF_TYPES) {
      const types = { inputs: [tensor('i32', 1, 2), tensor(dtype, 2, 3)], outputs: [tensor(dtype, 1, 2, 3)] };
      const [y] = await runOp(device, { op: 'embedding', ...types, values: [[2, 1], [1, 2, 3, 4, 5, 6]] });
      expect([...decodeElements(dtype, y ?? new Uint8Array())]).toEqual([NaN, NaN, NaN, 4, 5, 6]);
    }
  });

  it('refuses to run on activations of two types', async () => {
    const values = [0, 1].map(() => Array.from({ length: 700 }, () => 1));
    await expect(runOp(device, { op: 'add', inputs: [tensor('f32', 700), tensor('bf16', 700)], values, outputs: [tensor('f32', 700)] })).rejects.toThrow(/is bf16/);
    await expect(runOp(device, { op: 'add', inputs: [tensor('f16', 700), tensor('f16', 700)], values, outputs: [tensor('f32', 700)] })).rejects.toThrow(/is f32/);
  });
});

describe('shape rules', () => {
  const products = ['matmul_nn', 'matmul_nt', 'matmul_tn', 'linear_cross_entropy', 'linear_cross_entropy_backward']; // of any types
  const strict = [...new Set(CASES.map(({ op }) => op))].filter(({ name }) => !products.includes(name));

  it.each(strict.map((op) => [op.name, op] as const))('%s takes activations of one type only, and statistics and weights in f32', (_, op) => {
    for (const sample of op.samples.filter(({ inputs }) => inputs.some(({ dtype }) => dtype === 'bf16'))) {
      for (const index of sample.inputs.keys()) {
        const swap: Readonly<Record<DType, DType>> = { bf16: 'f16', f32: 'bf16', f16: 'f16', i32: 'f32', u8: 'u8' };
        const inputs = sample.inputs.map((type, i) => (i === index ? { ...type, dtype: swap[type.dtype] } : type));
        const alone = sample.inputs.every((type, i) => isHalf(type) === (i === index)); // nothing it could differ from
        if (!alone) expect(() => op.infer(inputs, sample.attrs), `input ${index} of ${sample.name}`).toThrow(/must/);
      }
    }
  });
});

describe('elements of 16 bits', () => {
  const WIDTH = 75; // whole groups of vectors on every target, and a rest
  const PIECE = 3; // less than a vector of any
  /** Infinities, NaN, zeros, denormals, halves between two numbers: what rounds in its own way. */
  const SPECIAL = [NaN, Infinity, -Infinity, 0, -0, 1e-40, 3.4e38, 1.00390625, 1.01171875, -87.5];
  const element = (index: number, i: number): number => (i % 5 === index ? SPECIAL[(i * 7 + index) % SPECIAL.length]! : 4 * Math.sin(i * (index + 1.3)));

  it.each(targets.flatMap((isa) => HALF_TYPES.flatMap((dtype) =>
    ([['add', 2, 1, {}], ['swiglu', 2, 1, {}], ['swiglu_backward', 3, 2, {}], ['gelu', 1, 1, { tanh: 1 }], ['gelu', 1, 1, { tanh: 0 }], ['gelu_backward', 2, 1, { tanh: 1 }]] as const)
      .map(([op, inputs, outputs, attrs]) => ({ isa, dtype, op, inputs, outputs, attrs })))))(
    'are the same wherever they lie: $op of $dtype, $isa, $attrs', async ({ isa, dtype, op, inputs, outputs, attrs }) => {
      const device = createCpuDevice({ threads: 1, isa });
      const run = (from: number, count: number): Promise<Uint8Array[]> => {
        const type = tensor(dtype, 1, 1, count);
        const values = Array.from({ length: inputs }, (_, index) => Float32Array.from({ length: count }, (__, i) => element(index, from + i)));
        return runOp(device, { op, attrs, inputs: values.map(() => type), outputs: Array.from({ length: outputs }, () => type), values });
      };
      const whole = await run(0, WIDTH);
      for (let from = 0; from < WIDTH; from += PIECE) {
        const count = Math.min(PIECE, WIDTH - from);
        const piece = await run(from, count);
        // Of a NaN only that it is one: its sign is that of whichever operand the compiler put first.
        piece.forEach((bytes, index) => expect([...decodeElements(dtype, bytes)], `output ${index} from element ${from}`).toEqual([...decodeElements(dtype, whole[index]!).subarray(from, from + count)]));
      }
    });
});
