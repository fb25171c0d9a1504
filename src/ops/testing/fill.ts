/** Elements for a sample's inputs: what the sample says, else random numbers, rounded as the inputs' dtypes store them. */

import { RandomStream } from '../../base/random.ts';
import { decodeElements, encodeElements } from '../../graph/dtype.ts';
import { elementCount } from '../../graph/shape.ts';
import type { Sample } from '../op.ts';

/** Depends on `seed` alone. Values lie in [-1, 1) where the sample does not fill them itself. */
export function fillSample(sample: Sample, seed: number): readonly Float64Array[] {
  return sample.inputs.map((type, index) => {
    const random = new RandomStream(seed, index);
    const uniform = (): number => random.uniform();
    const count = elementCount(type.shape);
    const elements = sample.fill?.(index, uniform) ?? Array.from({ length: count }, () => 2 * uniform() - 1);
    if (elements.length !== count) throw new RangeError(`sample '${sample.name}' fills ${elements.length} of ${count} elements of input ${index}`);
    return decodeElements(type.dtype, encodeElements(type.dtype, elements));
  });
}
