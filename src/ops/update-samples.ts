/** Samples of the ops that update a parameter, or a range of it, with state of their own: parameter, gradient, state …, learning rate, step, gradient scale. */

import { elementCount, tensor, type TensorType } from '../graph/shape.ts';
import type { Attrs } from '../graph/graph.ts';
import type { Sample } from './op.ts';

export interface UpdateSample {
  readonly step: number;
  readonly weightDecay: number;
  /** Of the gradient. Default 0.5. */
  readonly scale?: number;
  readonly dtype?: 'f32' | 'bf16';
  readonly first?: number;
  /** Shape of the range's state. Default: the parameter's. */
  readonly state?: readonly number[];
}

export interface UpdateParts {
  /** The state tensors of a range of this shape. */
  readonly state: (shape: readonly number[]) => readonly TensorType[];
  readonly attrs: Attrs;
  /** An element of state tensor `index` after the first step; before, all are zero. */
  readonly element: (index: number, random: () => number) => number;
}

/** How an op makes its samples: by name, shape of the parameter, and what is special. */
export function updateSamples({ state, attrs, element }: UpdateParts): (name: string, shape: readonly number[], options: UpdateSample) => Sample {
  return (name, shape, { step, weightDecay, scale = 0.5, dtype = 'f32', first = 0, state: range = shape }) => {
    const one = tensor('f32', 1);
    const states = state(range);
    const scalars = 2 + states.length;
    return {
      name,
      inputs: [tensor(dtype, ...shape), tensor('f32', ...shape), ...states, one, tensor('i32', 1), one],
      attrs: { ...attrs, weightDecay, first },
      fill(index, random) {
        const of = states[index - 2];
        if (of !== undefined) return Array.from({ length: elementCount(of.shape) }, () => (step === 1 ? 0 : element(index - 2, random)));
        return index === scalars ? [Math.fround(1e-2)] : index === scalars + 1 ? [step] : index === scalars + 2 ? [scale] : undefined;
      },
    };
  };
}
