/** Outputs of 32 MiB and more are stored past the caches: the same bits as small ones, on several threads. */

import { describe, expect, it } from 'vitest';
import { encodeElements } from '../../graph/dtype.ts';
import type { Attrs } from '../../graph/graph.ts';
import { byteCount, elementCount, tensor, type TensorType } from '../../graph/shape.ts';
import { createCpuDevice } from './cpu-device.ts';
import { runOp } from './testing/run-op.ts';

const device = createCpuDevice({ threads: 2 });
const [ROWS, WIDTH] = [64, 2048];

const half = (rows: number): TensorType => tensor('bf16', 1, rows, WIDTH);
const perRow = (rows: number): TensorType => tensor('f32', 1, rows, 1);
const full = (rows: number): TensorType => tensor('f32', 1, rows, WIDTH);
const gain = (): TensorType => tensor('f32', WIDTH);

/** [op, attrs, inputs and outputs of so many rows] */
const CASES: readonly (readonly [string, Attrs, readonly ((rows: number) => TensorType)[], readonly ((rows: number) => TensorType)[]])[] = [
  ['add', {}, [full, full], [full]],
  ['gelu', { tanh: 1 }, [full], [full]],
  ['swiglu_backward', {}, [full, full, full], [full, full]],
  ['rmsnorm', { epsilon: 1e-5 }, [full, gain], [full, perRow]],
  ['rmsnorm_backward', {}, [full, gain, perRow, full], [full]],
  ['layernorm', { epsilon: 1e-5 }, [full, gain, gain], [full, (rows) => tensor('f32', 1, rows), (rows) => tensor('f32', 1, rows)]],
  ['cast', { to: 0 }, [half], [full]],
  ['cast', { to: 1 }, [full], [half]],
  ['rmsnorm', { epsilon: 1e-5 }, [half, gain], [half, perRow]],
  ['rmsnorm_backward', {}, [half, gain, perRow, half], [half]],
  ['add', {}, [half, half], [half]],
  ['swiglu_backward', {}, [half, half, half], [half, half]],
];

describe('a large output', () => {
  it.each(CASES)('of %s is that of its parts: case %#', async (op, attrs, inputs, outputs) => {
    const times = outputs[0] === half ? 130 : 66;
    const values = inputs.map((type, index) => encodeElements(type(ROWS).dtype, Float32Array.from({ length: elementCount(type(ROWS).shape) }, (_, i) => Math.sin(i * (index + 1.7)) + 0.1)));
    const repeated = inputs.map((type, index) => {
      const part = values[index]!;
      const whole = new Uint8Array(byteCount(type(ROWS * times)));
      for (let at = 0; at < whole.length; at += part.length) whole.set(part, at);
      return whole;
    });
    const run = (rows: number, of: readonly Uint8Array[]): Promise<Uint8Array[]> =>
      runOp(device, { op, attrs, inputs: inputs.map((type) => type(rows)), outputs: outputs.map((type) => type(rows)), values: of });
    const [parts, wholes] = [await run(ROWS, values), await run(ROWS * times, repeated)];
    for (const [index, part] of parts.entries()) {
      const whole = Buffer.from(wholes[index]!);
      expect(whole.length).toBe(part.length * times);
      for (let time = 0; time < times; time++) expect(whole.subarray(time * part.length, (time + 1) * part.length).equals(part), `output ${index}, part ${time}`).toBe(true);
    }
  });
});
