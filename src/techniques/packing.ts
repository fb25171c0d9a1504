/** Sequence packing: several documents share a row; attention and positions are kept apart by document starts. */

import type { PackingChoice } from '../run/training-plan.ts';
import type { Technique } from './technique.ts';

export const packing: Technique<PackingChoice> = {
  name: 'packing',
  field: 'packing',
  keys: ['packing'],
  of: (plan) => plan.packing,
  into: (plan, value) => ({ ...plan, packing: value }),
  values: ({ settings, maxLength, bucketLengths }) =>
    settings.packing ? [{ packed: true, rowLengths: [maxLength] }] : [{ packed: false, rowLengths: bucketLengths }],
  numerics: () => 'reordered',
  conflict: () => undefined,
  explain: ({ packed, rowLengths }) =>
    packed
      ? { value: `rows of ${rowLengths.join(', ')} tokens`, saves: 'time: hardly any token of a row is filling', costs: 'nothing; sums are added in another order' }
      : { value: `one document per row, rows of ${rowLengths.join(', ')} tokens`, saves: 'nothing', costs: 'time: short documents are filled up to their bucket' },
  action: { stage: 'batch', shape: ({ rowLengths }, batch) => ({ ...batch, rowLengths }) },
};
