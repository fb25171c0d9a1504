/** log Σ e^logit and its gradients on every instruction set: wherever the greatest logit is, and as near to the exact value as PyTorch's. */

import { describe, expect, it } from 'vitest';
import { RandomStream } from '../../base/random.ts';
import { decodeElements } from '../../graph/dtype.ts';
import { tensor } from '../../graph/shape.ts';
import { createCpuDevice } from './cpu-device.ts';
import { loadNative } from './loader.ts';
import { runOp } from './testing/run-op.ts';

const devices = loadNative().targets().filter(({ supported }) => supported).map(({ name }) => createCpuDevice({ threads: 2, isa: name }));

async function lseOf(device: (typeof devices)[number], logits: Float64Array, vocabulary: number): Promise<Float64Array> {
  const tokens = logits.length / vocabulary;
  const [, lse] = await runOp(device, {
    op: 'cross_entropy', inputs: [tensor('f32', 1, tokens, vocabulary), tensor('i32', 1, tokens), tensor('f32', 1)], values: [logits, new Int32Array(tokens), [1]],
    outputs: [tensor('f32', 1), tensor('f32', 1, tokens)],
  });
  return decodeElements('f32', lse!);
}

async function dlogitsOf(device: (typeof devices)[number], logits: Float64Array, vocabulary: number, lse: Float64Array): Promise<Float64Array> {
  const [tokens, x] = [lse.length, tensor('f32', 1, lse.length, vocabulary)];
  const [dlogits] = await runOp(device, {
    op: 'cross_entropy_backward', inputs: [x, tensor('i32', 1, tokens), tensor('f32', 1, tokens), tensor('f32', 1), tensor('f32', 1)],
    values: [logits, new Int32Array(tokens), lse, [1], [1]], outputs: [x],
  });
  return decodeElements('f32', dlogits!);
}

describe.each(devices.map((device) => ({ name: device.description, device })))('cross-entropy on $name', ({ device }) => {
  it('finds the greatest logit at every place: else e^300 would overflow', async () => {
    const vocabulary = 211; // several vectors side by side, single ones, and a rest
    const logits = Float64Array.from({ length: vocabulary * vocabulary }, (_, i) => (i % vocabulary === Math.floor(i / vocabulary) ? 300 : Math.sin(i)));
    const lse = await lseOf(device, logits, vocabulary);
    expect([...lse]).toEqual(Array.from({ length: vocabulary }, () => 300));
    const dlogits = await dlogitsOf(device, logits, vocabulary, lse);
    for (let token = 1; token < vocabulary; token++) expect([dlogits[token * vocabulary], dlogits[token * vocabulary + token]]).toEqual([-1, 1]);
  });

  it('is within 1.1e-6 of the exact value for 49,152 logits, its gradients within 1e-6', async () => {
    const [vocabulary, tokens, random] = [49152, 8, new RandomStream(7, 11)];
    const logits = Float64Array.from({ length: tokens * vocabulary }, () => Math.fround(4 * random.normal()));
    const lse = await lseOf(device, logits, vocabulary);
    const dlogits = await dlogitsOf(device, logits, vocabulary, lse);
    for (let token = 0; token < tokens; token++) {
      const row = logits.subarray(token * vocabulary, (token + 1) * vocabulary);
      const top = row.reduce((most, x) => Math.max(most, x), -Infinity);
      const exact = top + Math.log(row.reduce((sum, x) => sum + Math.exp(x - top), 0));
      expect(Math.abs(lse[token]! - exact)).toBeLessThan(1.1e-6);
      const off = row.reduce((most, x, i) => Math.max(most, Math.abs(dlogits[token * vocabulary + i]! - (Math.exp(x - exact) - (i === 0 ? 1 : 0)))), 0);
      expect(off).toBeLessThan(1e-6);
    }
  });
});
