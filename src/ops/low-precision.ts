/** Samples of ops whose activations may have 16 bits: the same cases in bf16 and in f16. */

import type { Sample } from './op.ts';

export interface LowPrecisionOptions {
  /** Which inputs are activations. */
  readonly activations: readonly number[];
  /** Whether the outputs are activations too: rounded, which decides the tolerance. Otherwise they are f32 and as near as ever. */
  readonly rounds: boolean;
}

/** Half a unit in the last place is 2^-9 and 2^-12 of an element; twice that, of the largest. */
const TOLERANCES = { bf16: 2 ** -8, f16: 2 ** -11 } as const;

/** The samples, and each of them with its activations in bf16 and in f16. */
export function inEveryPrecision(samples: readonly Sample[], { activations, rounds }: LowPrecisionOptions): readonly Sample[] {
  const stored = (dtype: 'bf16' | 'f16') => (sample: Sample): Sample => ({
    ...sample,
    name: `${sample.name}, ${dtype}`,
    inputs: sample.inputs.map((type, index) => (activations.includes(index) ? { dtype, shape: type.shape } : type)),
    ...(rounds ? { tolerance: TOLERANCES[dtype] } : {}),
  });
  return [...samples, ...samples.map(stored('bf16')), ...samples.map(stored('f16'))];
}
