/** The chunked loss of every instruction set against projection, cross-entropy and their gradients as ops of their own: the same bits. */

import { describe, expect, it } from 'vitest';
import { RandomStream } from '../../base/random.ts';
import { decodeElements, encodeElements, type DType } from '../../graph/dtype.ts';
import type { Attrs } from '../../graph/graph.ts';
import { elementCount, tensor, type TensorType } from '../../graph/shape.ts';
import { opOf } from '../../ops/index.ts';
import type { Device } from '../device.ts';
import { conformanceOutputs, sameBytes } from '../testing/conformance.ts';
import { createCpuDevice } from './cpu-device.ts';
import { loadNative } from './loader.ts';

interface Operand {
  readonly type: TensorType;
  readonly data: Float64Array;
}

interface Shape {
  readonly rows: number;
  readonly length: number;
  readonly width: number;
  readonly vocabulary: number;
  readonly hidden: DType;
  readonly weight: DType;
  readonly ignored: number;
}

const SHAPES: readonly Shape[] = [
  { rows: 3, length: 389, width: 21, vocabulary: 37, hidden: 'f32', weight: 'f32', ignored: 0 },
  { rows: 3, length: 400, width: 33, vocabulary: 50, hidden: 'f32', weight: 'f32', ignored: 0.4 },
  { rows: 2, length: 800, width: 24, vocabulary: 65, hidden: 'f32', weight: 'bf16', ignored: 0.98 },
  { rows: 5, length: 100, width: 400, vocabulary: 40, hidden: 'f32', weight: 'f32', ignored: 0.3 },
  { rows: 1, length: 140, width: 10, vocabulary: 4200, hidden: 'f32', weight: 'f16', ignored: 0.3 },
  { rows: 2, length: 150, width: 35, vocabulary: 71, hidden: 'bf16', weight: 'f32', ignored: 0.3 },
  { rows: 1, length: 390, width: 35, vocabulary: 71, hidden: 'f16', weight: 'bf16', ignored: 0.3 },
  { rows: 4, length: 7, width: 9, vocabulary: 13, hidden: 'f32', weight: 'f32', ignored: 1 },
];

async function run(device: Device, op: string, inputs: readonly Operand[], attrs: Attrs): Promise<readonly Operand[]> {
  const sample = { name: op, inputs: inputs.map(({ type }) => type), attrs, fill: (index: number) => [...inputs[index]!.data] };
  const types = opOf(op).infer(sample.inputs, attrs);
  const bytes = await conformanceOutputs(device, { op: opOf(op), sample, name: op });
  return bytes.map((some, index) => ({ type: types[index]!, data: decodeElements(types[index]!.dtype, some) }));
}

function operands({ rows, length, width, vocabulary, hidden, weight, ignored }: Shape): readonly [Operand, Operand, Operand, Operand, Operand, Operand] {
  const random = new RandomStream(length, vocabulary);
  const draw = (type: TensorType, one: () => number): Operand => ({
    type, data: decodeElements(type.dtype, encodeElements(type.dtype, Array.from({ length: elementCount(type.shape) }, one))),
  });
  return [
    draw(tensor(hidden, rows, length, width), () => random.normal()),
    draw(tensor(weight, vocabulary, width), () => 0.2 * random.normal()),
    draw(tensor('i32', rows, length), () => (random.uniform() < ignored ? -100 : random.below(vocabulary))),
    draw(tensor('f32', 1), () => 0.01),
    draw(tensor('f32', rows), () => 1 + random.uniform()),
    draw(tensor('f32', vocabulary, width), () => random.normal()),
  ];
}

/** rowLoss, dhidden and dweight by the separate ops; 16-bit hidden is converted before, and dhidden after. */
async function separately(device: Device, shape: Shape, mode: number): Promise<readonly Operand[]> {
  const [hidden, weight, labels, lossWeight, dRowLoss, running] = operands(shape);
  const wide: Operand = { type: { ...hidden.type, dtype: 'f32' }, data: hidden.data };
  const [logits] = await run(device, 'matmul_nt', [wide, weight], { bias: 0 });
  const [rowLoss, lse] = await run(device, 'cross_entropy', [logits!, labels, lossWeight], {});
  const [dlogits] = await run(device, 'cross_entropy_backward', [logits!, labels, lse!, lossWeight, dRowLoss], {});
  const [dwide] = await run(device, 'matmul_nn', [dlogits!, weight], { bias: 0 });
  const [dweight] = await run(device, 'matmul_tn', [dlogits!, wide, ...(mode === 1 ? [running] : [])], { accumulate: mode });
  return [rowLoss!, { type: hidden.type, data: decodeElements(hidden.type.dtype, encodeElements(hidden.type.dtype, dwide!.data)) }, dweight!];
}

function expectSame(actual: readonly Operand[], expected: readonly Operand[], label: string): void {
  expect(actual.map(({ type }) => type), label).toEqual(expected.map(({ type }) => type));
  actual.forEach(({ type, data }, index) => {
    const same = sameBytes(encodeElements(type.dtype, data), encodeElements(type.dtype, expected[index]!.data));
    expect(same, `${label}: output ${index} has other bits`).toBe(true);
  });
}

const targets = loadNative().targets().filter(({ supported }) => supported);

describe.each(targets.map(({ name }) => name))('%s', (isa) => {
  const devices = [1, 3].map((threads) => createCpuDevice({ isa, threads, guardPages: true }));

  it.each(SHAPES)('$rows × $length tokens, hidden $hidden [$width], weight $weight [$vocabulary], ignored $ignored', async (shape) => {
    const [hidden, weight, labels, lossWeight, dRowLoss, running] = operands(shape);
    const plain = [hidden, weight, labels, lossWeight];
    for (const mode of [0, 1]) {
      const [rowLoss, dhidden, dweight] = await separately(devices[0]!, shape, mode);
      for (const device of devices) {
        for (const blocks of [1, 2, 100]) {
          const label = `mode ${mode}, ${blocks} blocks, ${device.description}`;
          const inputs = [...plain, dRowLoss, ...(mode === 1 ? [running] : [])];
          const name = 'linear_cross_entropy_backward';
          expectSame(await run(device, name, inputs, { blocks, mode, needHidden: 1, needWeight: 1 }), [rowLoss!, dhidden!, dweight!], label);
          expectSame(await run(device, name, inputs, { blocks, mode, needHidden: 0, needWeight: 1 }), [rowLoss!, dweight!], label);
          if (mode === 1) continue;
          expectSame(await run(device, name, inputs, { blocks, mode, needHidden: 1, needWeight: 0 }), [rowLoss!, dhidden!], label);
          expectSame(await run(device, 'linear_cross_entropy', plain, { blocks }), [rowLoss!], label);
        }
      }
    }
  });

  it('goes on from micro-batch to micro-batch: 4 × 1 and 2 × 2 rows give the bits of 1 × 4', async () => {
    const shape: Shape = { rows: 4, length: 391, width: 19, vocabulary: 45, hidden: 'f32', weight: 'f32', ignored: 0.3 };
    const [hidden, weight, labels, lossWeight, dRowLoss] = operands(shape);
    const name = 'linear_cross_entropy_backward';
    const whole = await run(devices[0]!, name, [hidden, weight, labels, lossWeight, dRowLoss], { blocks: 3, mode: 0, needHidden: 1, needWeight: 1 });
    for (const count of [1, 2]) {
      const part = ({ type, data }: Operand, row: number): Operand => {
        const size = data.length / shape.rows;
        return { type: { ...type, shape: [count, ...type.shape.slice(1)] }, data: data.slice(row * size, (row + count) * size) };
      };
      const rowLoss: number[] = [];
      const dhidden: number[] = [];
      let dweight: Operand | undefined;
      for (let row = 0; row < shape.rows; row += count) {
        const inputs = [part(hidden, row), weight, part(labels, row), lossWeight, part(dRowLoss, row), ...(dweight === undefined ? [] : [dweight])];
        const made = await run(devices[1]!, name, inputs, { blocks: 1, mode: dweight === undefined ? 0 : 1, needHidden: 1, needWeight: 1 });
        rowLoss.push(...made[0]!.data);
        dhidden.push(...made[1]!.data);
        dweight = made[2]!;
      }
      const joined = [{ type: whole[0]!.type, data: Float64Array.from(rowLoss) }, { type: whole[1]!.type, data: Float64Array.from(dhidden) }, dweight!];
      expectSame(joined, whole, `${count} rows at a time`);
    }
  });

  it('gives NaN for a label outside the vocabulary, like the separate ops, and leaves ignored tokens 0', async () => {
    const shape: Shape = { rows: 2, length: 5, width: 7, vocabulary: 11, hidden: 'f32', weight: 'f32', ignored: 0.5 };
    const [hidden, weight, labels, lossWeight, dRowLoss] = operands(shape);
    const wrong = { ...labels, data: labels.data.map((label, token) => (token === 2 ? 11 : label)) };
    const inputs = [hidden, weight, wrong, lossWeight, dRowLoss];
    const [rowLoss, dhidden] = await run(devices[0]!, 'linear_cross_entropy_backward', inputs, { blocks: 1, mode: 0, needHidden: 1, needWeight: 1 });
    expect([Number.isNaN(rowLoss!.data[0]), Number.isFinite(rowLoss!.data[1])]).toEqual([true, true]);
    wrong.data.forEach((label, token) => {
      const row = dhidden!.data.subarray(token * 7, (token + 1) * 7);
      expect(row.every((x) => Object.is(x, 0))).toBe(label < 0);
    });
  });
});
