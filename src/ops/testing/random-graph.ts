/** Random graphs of small tensors for property tests: some nodes overwrite an input, and nobody reads that afterwards. */

import { RandomStream } from '../../base/random.ts';
import { GraphBuilder } from '../../graph/builder.ts';
import type { Graph, ValueId } from '../../graph/graph.ts';
import { shapeRules } from '../index.ts';
import { at } from '../rules.ts';

/** A valid graph of `nodeCount` nodes of f32 [2,3,4] values; depends on `seed` alone. */
export function randomGraph(seed: number, nodeCount: number): Graph {
  const random = new RandomStream(seed, 0);
  const builder = new GraphBuilder(shapeRules);
  const readable: ValueId[] = [];
  const fixed = new Set<ValueId>();
  for (let i = 0; i < 3; i++) {
    const id = i === 0 ? builder.input(`input ${i}`, 'f32', 2, 3, 4) : builder.parameter(`parameter ${i}`, 'f32', 2, 3, 4);
    readable.push(id);
    fixed.add(id);
  }
  const factor = builder.constant('factor', 'f32', [0.5]);
  for (let i = 0; i < nodeCount; i++) {
    const pick = (): ValueId => at(readable, random.below(readable.length));
    const [x, y] = [pick(), pick()];
    const kind = random.below(4);
    const overwrites = x !== y && !fixed.has(x) && readable.length > 4 && random.below(3) === 0 ? [{ output: 0, input: 0 }] : [];
    const made =
      kind === 0 ? builder.node('add', [x, y], {}, { overwrites })
      : kind === 1 ? builder.node('scale', [x, factor], {}, { overwrites })
      : kind === 2 ? builder.node('gelu', [x], { tanh: random.below(2) }, { overwrites })
      : builder.node('swiglu', [x, y]);
    if (kind !== 3 && overwrites.length > 0) readable.splice(readable.indexOf(x), 1);
    readable.push(at(made, 0));
  }
  const results = readable.filter((id) => !fixed.has(id)).slice(-2);
  results.forEach((id, index) => builder.output(`result ${index}`, id));
  return builder.finish();
}
