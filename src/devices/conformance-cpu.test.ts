/**
 * The cpu device gives the same bits for any number of threads, and for any number of rows per micro-batch, with every instruction
 * set. That they are right: cpu/conformance.test.ts.
 */

import { describe, expect, it } from 'vitest';
import { decodeElements } from '../graph/dtype.ts';
import { tensor, type TensorType } from '../graph/shape.ts';
import { OPS, opOf } from '../ops/index.ts';
import type { Sample } from '../ops/op.ts';
import { fillSample } from '../ops/testing/fill.ts';
import { CONFORMANCE_CASES, conformanceOutputs, sameBytes } from './testing/conformance.ts';
import { createCpuDevice } from './cpu/cpu-device.ts';
import { loadNative } from './cpu/loader.ts';

const targets = loadNative().targets().filter((target) => target.supported).map((target) => target.name);

interface Sum {
  readonly op: string;
  /** The inputs for some rows, but for the earlier sum. */
  readonly tokens: (rows: number, length: number) => readonly TensorType[];
  readonly result: TensorType;
  readonly attrs: Readonly<Record<string, number>>;
  /** The attribute that goes on from an earlier sum when 1. */
  readonly mode: string;
}

/** The sums over tokens. */
const SUMS: readonly Sum[] = [
  { op: 'matmul_tn', tokens: (b, t) => [tensor('f32', b, t, 21), tensor('f32', b, t, 37)], result: tensor('f32', 21, 37), attrs: {}, mode: 'accumulate' },
  { op: 'column_sum', tokens: (b, t) => [tensor('f32', b, t, 37)], result: tensor('f32', 37), attrs: {}, mode: 'accumulate' },
  {
    op: 'rmsnorm_weight_gradient',
    tokens: (b, t) => [tensor('f32', b, t, 48), tensor('f32', b, t, 2), tensor('f32', b, t, 48)],
    result: tensor('f32', 24),
    attrs: { width: 24 },
    mode: 'accumulate',
  },
  {
    op: 'layernorm_weight_gradient',
    tokens: (b, t) => [tensor('f32', b, t, 33), tensor('f32', b, t), tensor('f32', b, t), tensor('f32', b, t, 33)],
    result: tensor('f32', 33),
    attrs: {},
    mode: 'accumulate',
  },
  { op: 'embedding_backward', tokens: (b, t) => [tensor('i32', b, t), tensor('f32', b, t, 19)], result: tensor('f32', 7, 19), attrs: { vocabulary: 7 }, mode: 'mode' },
];

describe.each(targets)('cpu %s', (isa) => {
  const devices = [2, 3].map((threads) => createCpuDevice({ isa, threads }));
  const one = createCpuDevice({ isa, threads: 1 });

  it.each([...OPS.keys()])('%s', async (name) => {
    for (const testCase of CONFORMANCE_CASES.filter(({ op, poison }) => op.name === name && poison === undefined)) {
      const wanted = await conformanceOutputs(one, testCase);
      for (const device of devices) {
        const bytes = await conformanceOutputs(device, testCase);
        const same = bytes.every((output, index) => sameBytes(output, wanted[index]));
        expect(same, `${testCase.name}: ${device.description} gives other bits than 1 thread`).toBe(true);
      }
    }
  });

  it.each(SUMS)('$op: 4 micro-batches of 1 row, 2 of 2 and 1 of 4 give the same bits', async ({ op: name, tokens, result, attrs, mode }) => {
    const op = opOf(name);
    const [rows, length] = [4, 391];
    const whole: Sample = { name: 'whole', inputs: tokens(rows, length), attrs: { ...attrs, [mode]: 0 } };
    const ids: Sample['fill'] = (index, random) =>
      whole.inputs[index]?.dtype === 'i32' ? Array.from({ length: rows * length }, () => Math.floor(7 * random())) : undefined;
    const arrays = fillSample({ ...whole, fill: ids }, 5);
    const [wanted] = await conformanceOutputs(one, { op, sample: filled(whole, arrays), name });
    for (const count of [1, 2]) {
      let sum: Uint8Array | undefined;
      for (let row = 0; row < rows; row += count) {
        const parts = arrays.map((array) => array.subarray((array.length / rows) * row, (array.length / rows) * (row + count)));
        const earlier = sum === undefined ? [] : [decodeElements('f32', sum)];
        const inputs = [...tokens(count, length), ...(sum === undefined ? [] : [result])];
        const sample: Sample = { name: `rows ${row}`, inputs, attrs: { ...attrs, [mode]: sum === undefined ? 0 : 1 } };
        [sum] = await conformanceOutputs(devices[0] ?? one, { op, sample: filled(sample, [...parts, ...earlier]), name });
      }
      expect(sameBytes(wanted ?? new Uint8Array(), sum), `${count} rows at a time`).toBe(true);
    }
  });
});

function filled(sample: Sample, arrays: readonly Float64Array[]): Sample {
  return { ...sample, fill: (index) => [...(arrays[index] ?? [])] };
}
