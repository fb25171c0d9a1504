/** Rotary position embedding (Su et al. 2021), in the half-split layout of Hugging Face. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { elementCount, lastAxis, tensor } from '../graph/shape.ts';
import { inEveryPrecision } from './low-precision.ts';
import { attr, expect, type Op, type Sample } from './op.ts';
import { at, axis, expectCount, expectFlag, expectFloat, expectRank, expectType, only, outputGradient } from './rules.ts';

/**
 * positions i32 [B,T], inverseFrequencies f32 [K/2] → table f32 [B,T,K]: cos(position·f_j)·scaling, then sin(position·f_j)·scaling,
 * computed in double and rounded once. `scaling` is 1 but for schemes that scale attention (YaRN).
 */
export function rotaryTable(b: GraphBuilder, positions: ValueId, inverseFrequencies: ValueId, options: { readonly scaling?: number } = {}): ValueId {
  return only(b.node('rotary_table', [positions, inverseFrequencies], { scaling: options.scaling ?? 1 }));
}

/** Turns each pair (j, j + K/2) of each of the M heads of x [B,T,M·K] by the angle in table [B,T,K]. */
export function rotary(b: GraphBuilder, x: ValueId, table: ValueId): ValueId {
  return only(b.node('rotary', [x, table], { inverse: 0 }));
}

export const rotaryTableOp: Op = {
  name: 'rotary_table',
  attrs: ['scaling'],
  infer(inputs, attrs) {
    expectCount(inputs, 2);
    const [positions, frequencies] = [at(inputs, 0), at(inputs, 1)];
    attr(attrs, 'scaling');
    expectRank(positions, 2, 'positions');
    expectType(positions, 'i32', positions.shape, 'positions');
    expectRank(frequencies, 1, 'inverse frequencies');
    expectType(frequencies, 'f32', frequencies.shape, 'inverse frequencies');
    return [tensor('f32', ...positions.shape, 2 * axis(frequencies, 0))];
  },
  flops: (_inputs, outputs) => 2 * elementCount(at(outputs, 0).shape),
  bound: 'memory',
  reference(inputs, attrs) {
    const [positions, frequencies] = [at(inputs, 0), at(inputs, 1)];
    const half = frequencies.length;
    const scaling = attr(attrs, 'scaling');
    const table = new Float64Array(positions.length * 2 * half);
    positions.forEach((position, token) => {
      frequencies.forEach((frequency, j) => {
        table[token * 2 * half + j] = Math.cos(position * frequency) * scaling;
        table[token * 2 * half + half + j] = Math.sin(position * frequency) * scaling;
      });
    });
    return [table];
  },
  samples: [
    tableSample('one position', 1, 1, 1, 1),
    tableSample('odd sizes', 3, 5, 7, 1),
    tableSample('far positions', 2, 17, 32, 1),
    tableSample('scaled', 2, 9, 8, 1.25),
  ],
};

export const rotaryOp: Op = {
  name: 'rotary',
  attrs: ['inverse'],
  infer(inputs, attrs) {
    expectCount(inputs, 2);
    const [x, table] = [at(inputs, 0), at(inputs, 1)];
    expectFlag(attr(attrs, 'inverse'), 'inverse');
    expectRank(x, 3, 'x');
    expectFloat(x, 'x');
    expectRank(table, 3, 'table');
    const width = axis(table, 2);
    expectType(table, 'f32', [axis(x, 0), axis(x, 1), width], 'table');
    expect(width > 0 && width % 2 === 0 && axis(x, 2) % width === 0, `the head width ${width} must be even and divide x's last axis`);
    return [x];
  },
  flops: (inputs) => 3 * elementCount(at(inputs, 0).shape),
  vjp(context) {
    const dy = outputGradient(context);
    const inverse = attr(context.node.attrs, 'inverse') === 1 ? 0 : 1;
    return [context.needs(0) ? only(context.builder.node('rotary', [dy, at(context.node.inputs, 1)], { inverse })) : undefined, undefined];
  },
  saved: { inputs: [1], outputs: [] },
  mayOverwrite: [{ output: 0, input: 0 }],
  bound: 'memory',
  reference(inputs, attrs, types) {
    const [x, table] = [at(inputs, 0), at(inputs, 1)];
    const width = lastAxis(at(types, 1).shape);
    const heads = lastAxis(at(types, 0).shape) / width;
    const half = width / 2;
    const sign = attr(attrs, 'inverse') === 1 ? -1 : 1;
    const y = new Float64Array(x.length);
    for (let head = 0; head < x.length / width; head++) {
      const turn = table.subarray(Math.floor(head / heads) * width);
      for (let j = 0; j < half; j++) {
        const [first, second] = [head * width + j, head * width + half + j];
        const [cos, sin] = [turn[j]!, sign * turn[half + j]!];
        y[first] = x[first]! * cos - x[second]! * sin;
        y[second] = x[second]! * cos + x[first]! * sin;
      }
    }
    return [y];
  },
  samples: inEveryPrecision([0, 1].flatMap((inverse) => [
    rotarySample('smallest', inverse, 1, 1, 1, 2),
    rotarySample('odd sizes', inverse, 3, 5, 3, 6),
    rotarySample('one head', inverse, 2, 11, 1, 34),
    rotarySample('several heads', inverse, 2, 7, 4, 16),
  ]), { activations: [0], rounds: true }),
};

function tableSample(name: string, rows: number, length: number, half: number, scaling: number): Sample {
  return {
    name,
    inputs: [tensor('i32', rows, length), tensor('f32', half)],
    attrs: { scaling },
    fill: (index, random) =>
      index === 0
        ? Array.from({ length: rows * length }, () => Math.floor(random() * 4096))
        : Array.from({ length: half }, (_, j) => Math.fround(10000 ** (-j / half))),
  };
}

function rotarySample(name: string, inverse: number, rows: number, length: number, heads: number, width: number): Sample {
  return {
    name: inverse === 1 ? `${name}, inverse` : name,
    inputs: [tensor('f32', rows, length, heads * width), tensor('f32', rows, length, width)],
    attrs: { inverse },
  };
}
