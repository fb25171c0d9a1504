/** Every vjp rule against central differences, on every sample, with and without earlier gradients. */

import { describe, expect, it } from 'vitest';
import { interpret } from '../devices/reference/interpret.ts';
import { isFloat } from '../graph/dtype.ts';
import { elementCount } from '../graph/shape.ts';
import { OPS } from './index.ts';
import type { Op } from './op.ts';
import { gradcheck } from './testing/gradcheck.ts';
import { at, only, outputGradient } from './rules.ts';

const differentiable = [...OPS.values()].filter((op) => op.vjp !== undefined);

/** Float inputs that are data, never trained: the rule gives them no gradient. */
const WITHOUT_GRADIENT: Readonly<Record<string, readonly number[]>> = { rotary: [1], scale: [1], cross_entropy: [2], linear_cross_entropy: [3] };

const TOLERANCE = 1e-6;

function sorted(numbers: Iterable<number>): readonly number[] {
  return [...numbers].sort((a, b) => a - b);
}

describe.each(differentiable.map((op) => [op.name, op] as const))('vjp of %s', (name, op) => {
  const expected = (index: number, sample: Op['samples'][number]): boolean =>
    isFloat(at(sample.inputs, index).dtype) && !(WITHOUT_GRADIENT[name] ?? []).includes(index);

  const read = { inputs: new Set<number>(), outputs: new Set<number>() };
  it.each(op.samples.map((sample) => [sample.name, sample] as const))('%s', (_, sample) => {
    const { errors, read: here } = gradcheck(op, sample, { interpret });
    here.inputs.forEach((index) => read.inputs.add(index));
    here.outputs.forEach((index) => read.outputs.add(index));
    errors.forEach((error, index) => {
      if (expected(index, sample)) expect(error, `input ${index}`).toBeLessThanOrEqual(TOLERANCE);
      else expect(error, `input ${index}`).toBeUndefined();
    });
  });

  const quick = op.samples.filter((sample) => sample.inputs.every((type) => elementCount(type.shape) <= 1000));
  const small = at(quick, Math.min(1, quick.length - 1));

  it('emits and returns only what is needed', () => {
    const all = gradcheck(op, small, { interpret }).nodes.length;
    small.inputs.forEach((_, wanted) => {
      const { errors, nodes } = gradcheck(op, small, { interpret, needs: (index) => index === wanted });
      errors.forEach((error, index) => {
        if (index === wanted && expected(index, small)) expect(error).toBeLessThanOrEqual(TOLERANCE);
        else expect(error).toBeUndefined();
      });
      expect(nodes.length).toBeLessThanOrEqual(all);
    });
  });

  it('goes on from earlier gradients in their bytes', () => {
    for (const sample of quick) {
      const { errors, accumulated, nodes } = gradcheck(op, sample, { interpret, accumulate: true });
      errors.forEach((error) => expect(error ?? 0).toBeLessThanOrEqual(TOLERANCE));
      expect(nodes.filter((node) => node.overwrites.length > 0)).toHaveLength(accumulated.length);
    }
  });

  it('adds to the gradient of other uses where it says so', () => {
    for (const sample of quick) {
      const { errors, merged } = gradcheck(op, sample, { interpret, merge: true });
      errors.forEach((error) => expect(error ?? 0).toBeLessThanOrEqual(TOLERANCE));
      expect(merged).toEqual(op.merges ?? []);
    }
  });

  it('reads exactly the saved values', () => {
    expect({ inputs: sorted(read.inputs), outputs: sorted(read.outputs) }).toEqual(op.saved);
  });
});

describe('gradcheck', () => {
  it('notices a dropped term, a wrong factor and a wrong sign', () => {
    const opNamed = (name: string): Op => at([...OPS.values()].filter((op) => op.name === name), 0);
    const worst = (op: Op): number => Math.max(...gradcheck(op, at(op.samples, 1), { interpret }).errors.map((error) => error ?? 0));
    const norm = opNamed('layernorm');
    const add = opNamed('add');
    const rotary = opNamed('rotary');
    expect(worst(norm)).toBeLessThan(TOLERANCE);
    expect(worst({ ...norm, vjp: (context) => [context.gradient(0), undefined, undefined] })).toBeGreaterThan(0.01);
    const doubled: Op['vjp'] = (context) => {
      const dy = outputGradient(context);
      return [dy, only(context.builder.node('add', [dy, dy]))];
    };
    expect(worst({ ...add, vjp: doubled })).toBeGreaterThan(0.1);
    const turnedOn: Op['vjp'] = (context) => {
      const inputs = [outputGradient(context), at(context.node.inputs, 1)];
      return [only(context.builder.node('rotary', inputs, { inverse: 0 })), undefined];
    };
    expect(worst({ ...rotary, vjp: turnedOn })).toBeGreaterThan(0.01);
  });
});
