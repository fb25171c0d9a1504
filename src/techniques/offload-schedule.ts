/** What the rewrites of offload share: sizes, and nodes that are made now and put in their place in the schedule later. */

import { KIB, MIB } from '../base/bytes.ts';
import type { GraphBuilder } from '../graph/builder.ts';
import type { Node, Phase } from '../graph/graph.ts';

export interface OffloadLimits {
  /** Parameter elements per slice of state, at least; a multiple of 256, the block of low-bit state. */
  readonly sliceElements: number;
  /** A layer is cut into about so many slices at most: schedules of large models stay short. */
  readonly slicesPerLayer: number;
  /** Parameters with less state than that keep it in memory. */
  readonly leastStateBytes: number;
  /** Smaller activations stay in memory. */
  readonly leastActivationBytes: number;
  /** How many slices (or layers) before its use a read begins, and after it a write must be complete. */
  readonly depth: number;
}

export const OFFLOAD_LIMITS: OffloadLimits = { sliceElements: 2 ** 20, slicesPerLayer: 24, leastStateBytes: MIB, leastActivationBytes: 64 * KIB, depth: 2 };

/** The nodes that `body` appends, at a model path and in a phase. */
export function nodesOf(builder: GraphBuilder, { scope, phase }: { readonly scope: string; readonly phase: Phase }, body: () => void): readonly Node[] {
  const before = builder.nodesSoFar.length;
  builder.within(scope, phase, body);
  return builder.nodesSoFar.slice(before);
}
