/** Chunked loss: the output projection and the cross-entropy in slices of tokens, so that the logits of a micro-batch never exist whole. */

import { GraphBuilder } from '../graph/builder.ts';
import type { Graph, Node, ValueId } from '../graph/graph.ts';
import { liveNodes, producers } from '../graph/walk.ts';
import { shapeRules } from '../ops/index.ts';
import { linearCrossEntropy } from '../ops/linear-cross-entropy.ts';
import { BLOCK_TOKENS } from '../ops/token-blocks.ts';
import type { LossChoice } from '../run/training-plan.ts';
import type { Technique } from './technique.ts';

/** Token blocks per slice worth trying, the least first: it saves the most and costs hardly any time. */
const SLICES = [1, 4];

const WHOLE: LossChoice = { kind: 'whole' };

export const chunkedLoss: Technique<LossChoice> = {
  name: 'chunked loss',
  field: 'loss',
  keys: ['chunked_loss'],
  of: (plan) => plan.loss,
  into: (plan, value) => ({ ...plan, loss: value }),
  values: ({ settings }) => {
    const chunked = SLICES.map((blocks): LossChoice => ({ kind: 'chunked', blocks }));
    if (settings.chunked_loss === undefined) return [...chunked, WHOLE];
    return settings.chunked_loss ? chunked : [WHOLE];
  },
  // For rows of any length: the sum over tokens is cut as it is without slices, and a slice goes on where the last one ended.
  numerics: () => 'bitwise',
  conflict: () => undefined,
  explain: (value) => {
    switch (value.kind) {
      case 'whole':
        return { value: 'logits of the whole micro-batch', saves: 'nothing', costs: 'tokens × vocabulary × 4 bytes' };
      case 'chunked':
        return {
          brief: value.blocks === 1 ? 'chunked loss' : `chunked loss (${value.blocks})`,
          value: `logits of at most ${value.blocks * BLOCK_TOKENS} tokens at a time`,
          saves: 'tokens × vocabulary × 4 bytes, but for those of a slice; time where tokens have no label',
          costs: 'the output projection is read once more per slice',
        };
      default:
        return value satisfies never;
    }
  },
  action: { stage: 'forward', rewrite: (value, graph) => (value.kind === 'whole' ? graph : sliceLoss(graph, value.blocks)) },
};

/** Puts one op in the place of the projection without bias and the cross-entropy that make the output `loss`. */
function sliceLoss(graph: Graph, blocks: number): Graph {
  const made = producers(graph);
  const makerOf = (id: ValueId | undefined, op: string): Node | undefined => {
    const node = id === undefined ? undefined : graph.nodes[made.get(id) ?? graph.nodes.length];
    return node?.op === op ? node : undefined;
  };
  const loss = makerOf(graph.outputs['loss'], 'cross_entropy');
  const product = makerOf(loss?.inputs[0], 'matmul_nt');
  if (loss === undefined || product?.attrs['bias'] !== 0) throw new Error('chunked loss: the output `loss` is no cross-entropy of a projection without bias');
  const [projected, weight] = product.inputs;
  const [, labels, lossWeight] = loss.inputs;
  const [rowLoss] = loss.outputs;
  if (projected === undefined || weight === undefined || labels === undefined || lossWeight === undefined || rowLoss === undefined) throw new Error('chunked loss: an operand is missing');
  // The op converts 16-bit rows itself, as exactly as a cast does.
  const hidden = makerOf(projected, 'cast')?.inputs[0] ?? projected;

  const builder = GraphBuilder.from(graph, shapeRules);
  const sliced = builder.within(loss.scope, 'forward', () => linearCrossEntropy(builder, { hidden, weight, labels, lossWeight }, { blocks }));
  builder.redirectOutputs(rowLoss, sliced);
  const rewritten = builder.finish();
  return { ...rewritten, nodes: liveNodes(rewritten) };
}
