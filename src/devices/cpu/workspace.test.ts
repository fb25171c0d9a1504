import { describe, expect, it } from 'vitest';
import { OPS } from '../../ops/index.ts';
import type { Attrs } from '../../graph/graph.ts';
import { tensor, type TensorType } from '../../graph/shape.ts';
import { encodeOp } from './encode.ts';
import { loadNative } from './loader.ts';
import { workspaceBytes } from './workspace.ts';

interface Case {
  readonly op: string;
  readonly inputs: readonly TensorType[];
  readonly attrs: Attrs;
}

const product = (op: string, rows: number, columns: number, inner: number, dtype: 'f32' | 'bf16' = 'f32'): Case => ({
  op,
  inputs: [tensor('f32', rows, inner), op === 'matmul_nt' ? tensor(dtype, columns, inner) : tensor(dtype, inner, columns)],
  attrs: { bias: 0 },
});
const overTokens = (rows: number, length: number, m: number, k: number): Case => ({
  op: 'matmul_tn', inputs: [tensor('f32', rows, length, m), tensor('f32', rows, length, k)], attrs: { accumulate: 0 },
});
const attention = (rows: number, length: number, heads: number, keyValueHeads: number, headWidth: number, dtype: 'f32' | 'bf16' | 'f16' = 'f32'): Case => ({
  op: 'attention_backward',
  inputs: [
    tensor(dtype, rows, length, heads * headWidth), tensor(dtype, rows, length, keyValueHeads * headWidth), tensor(dtype, rows, length, keyValueHeads * headWidth),
    tensor('i32', rows, length), tensor(dtype, rows, length, heads * headWidth), tensor('f32', rows, length, heads), tensor(dtype, rows, length, heads * headWidth),
  ],
  attrs: { heads, keyValueHeads, headWidth, scale: 1 },
});
const linearLoss = (rows: number, length: number, width: number, vocabulary: number, blocks: number): Case => ({
  op: 'linear_cross_entropy_backward',
  inputs: [tensor('f32', rows, length, width), tensor('f32', vocabulary, width), tensor('i32', rows, length), tensor('f32', 1), tensor('f32', rows)],
  attrs: { blocks, mode: 0, needHidden: 1, needWeight: 1 },
});

const adafactor = (shape: readonly number[]): Case => {
  const [one, full] = [tensor('f32', 1), tensor('f32', ...shape)];
  const second = shape.length === 2 ? shape.map((size) => tensor('f32', size)) : [full];
  return { op: 'adafactor', inputs: [full, full, one, tensor('i32', 1), one, ...second], attrs: { beta1: 0, weightDecay: 0, factored: second.length - 1, seed: 0 } };
};

const LARGE: readonly Case[] = [
  product('matmul_nt', 512, 49152, 576), product('matmul_nn', 512, 576, 49152), product('matmul_nt', 17, 2049, 385, 'bf16'),
  product('matmul_nn', 16, 4000, 5000), product('matmul_nt', 1, 33, 1), product('matmul_nt', 95, 2048, 2048),
  overTokens(1, 512, 1536, 576), overTokens(4, 385, 100, 5000), overTokens(9, 127, 50, 60), overTokens(3, 128, 7, 9),
  attention(1, 2048, 9, 3, 64), attention(3, 400, 2, 1, 20), attention(20, 100, 4, 4, 80), attention(1, 385, 2, 2, 8), attention(1, 1, 1, 1, 1),
  linearLoss(1, 512, 576, 49152, 1), linearLoss(4, 385, 100, 5000, 4), linearLoss(9, 127, 50, 60, 2), linearLoss(1, 9, 2500, 7, 1), linearLoss(3, 1000, 33, 12, 100),
  attention(1, 2048, 9, 3, 64, 'bf16'), attention(3, 400, 2, 1, 20, 'f16'), attention(20, 100, 4, 4, 80, 'bf16'),
  { op: 'sum_squares', inputs: [tensor('f32', 1000, 777)], attrs: {} },
  ...[[16384, 9], [16385, 9], [50000, 3], [100_000]].map((shape) => adafactor(shape)),
];
const SAMPLES: readonly Case[] = [...OPS.values()].flatMap(({ name, samples }) => samples.map(({ inputs, attrs }) => ({ op: name, inputs, attrs })));
const targets = loadNative().targets().filter(({ supported }) => supported);

describe.each(targets.map(({ name }) => name))('workspace of %s', (isa) => {
  it.each([1, 2, 5])('is what the kernels ask for, in whole cache lines, with %d threads', (threads) => {
    const native = loadNative();
    const device = native.createDevice(isa, threads);
    for (const { op, inputs, attrs } of [...LARGE, ...SAMPLES]) {
      const outputs = OPS.get(op)!.infer(inputs, attrs);
      const { code, opNames } = encodeOp({ op, inputs, outputs, attrs }, native.signatures());
      const asked = native.workspaceBytes(device, code, opNames);
      const label = `${op} ${inputs.map(({ shape }) => shape.join('x')).join(' ')}`;
      expect(`${label}: ${workspaceBytes(op, inputs, outputs, attrs, threads)}`).toBe(`${label}: ${Math.ceil(asked / 64) * 64}`);
    }
  });
});
