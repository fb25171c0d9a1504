/** Cast: the same numbers in another float type. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { tensor } from '../graph/shape.ts';
import { attr, expect, type Op, type Sample } from './op.ts';
import { at, expectCount, expectFloat, only, outputGradient } from './rules.ts';

/** The types that a value can be cast to; the index is the attribute `to` (and the number that kernels know the type by). */
const TARGETS = ['f32', 'bf16', 'f16'] as const;

export type CastTarget = (typeof TARGETS)[number];

/** x [...] of any float type → y [...] of type `to`, rounded to nearest, ties to even. */
export function cast(b: GraphBuilder, x: ValueId, to: CastTarget): ValueId {
  return only(b.node('cast', [x], { to: TARGETS.indexOf(to) }));
}

export const castOp: Op = {
  name: 'cast',
  attrs: ['to'],
  infer(inputs, attrs) {
    expectCount(inputs, 1);
    const x = at(inputs, 0);
    expectFloat(x, 'x');
    const dtype = TARGETS[attr(attrs, 'to')];
    expect(dtype !== undefined, `to must be 0 (f32), 1 (bf16) or 2 (f16), got ${attr(attrs, 'to')}`);
    return [{ dtype, shape: x.shape }];
  },
  flops: () => 0,
  vjp(context) {
    if (!context.needs(0)) return [undefined];
    const { builder, node } = context;
    const to = TARGETS.find((dtype) => dtype === builder.type(at(node.inputs, 0)).dtype);
    if (to === undefined) throw new Error('cast: x is of no float type');
    return [cast(builder, outputGradient(context), to)];
  },
  saved: { inputs: [], outputs: [] },
  bound: 'memory',
  // The device rounds when it stores the result.
  reference: (inputs) => [at(inputs, 0).slice()],
  samples: TARGETS.flatMap((from) => TARGETS.flatMap((to) => [
    sample('size 1', from, to, 1),
    sample('odd sizes', from, to, 3, 5, 13),
    sample('more than a block', from, to, 17, 1001),
  ])),
};

function sample(name: string, from: CastTarget, to: CastTarget, ...shape: number[]): Sample {
  const tolerance = to === 'f32' ? {} : { tolerance: to === 'bf16' ? 2 ** -8 : 2 ** -11 };
  return { name: `${name}, ${from} to ${to}`, inputs: [tensor(from, ...shape)], attrs: { to: TARGETS.indexOf(to) }, ...tolerance };
}
