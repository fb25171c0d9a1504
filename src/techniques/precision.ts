/**
 * Mixed precision (Micikevicius et al. 2018): activations and their gradients in bf16 or f16, weights in f32 or bf16. The dtype enters behind the
 * embeddings and spreads by inference; norms, softmax and sums are f32 inside every op, and so are the logits, the loss and all gradients of weights.
 */

import type { GraphBuilder } from '../graph/builder.ts';
import type { Graph, Node, ValueId } from '../graph/graph.ts';
import { rebuild } from '../graph/rebuild.ts';
import { producers } from '../graph/walk.ts';
import { cast } from '../ops/cast.ts';
import { shapeRules } from '../ops/index.ts';
import type { PrecisionChoice } from '../run/training-plan.ts';
import type { Technique } from './technique.ts';

export const precision: Technique<PrecisionChoice> = {
  name: 'precision',
  field: 'precision',
  keys: ['bf16', 'fp16', 'bf16_weights'],
  of: (plan) => plan.precision,
  into: (plan, value) => ({ ...plan, precision: value }),
  values: ({ settings }) => {
    const { allow, bf16, fp16, bf16_weights: bf16Weights } = settings;
    const isSet = bf16 !== undefined || fp16 !== undefined;
    const activations: PrecisionChoice['activations'][] = [bf16 === true ? 'bf16' : fp16 === true ? 'f16' : 'f32', ...(!isSet && allow.includes('bf16') ? ['bf16' as const] : [])];
    const weights: PrecisionChoice['weights'][] = [bf16Weights === true ? 'bf16' : 'f32', ...(bf16Weights === undefined && allow.includes('bf16_weights') ? ['bf16' as const] : [])];
    return weights.flatMap((stored) => activations.map((computed) => ({ activations: computed, weights: stored })));
  },
  numerics: (value) => (isPlain(value) ? 'bitwise' : 'changed'),
  conflict: () => undefined,
  explain: (value) => ({
    value: named(value), saves: saving(value), costs: cost(value),
    ...(isPlain(value) ? {} : { brief: [...(value.activations === 'f32' ? [] : [value.activations]), ...(value.weights === 'f32' ? [] : ['bf16 weights'])].join(' with ') }),
  }),
  action: { stage: 'forward', rewrite },
};

function isPlain({ activations, weights }: PrecisionChoice): boolean {
  return activations === 'f32' && weights === 'f32';
}

/**
 * Declares parameters of two or more axes in the type of the weights (norm weights and biases stay f32), casts what the embeddings give to
 * the type of the activations, and what the projection to logits reads to f32.
 */
function rewrite(choice: PrecisionChoice, graph: Graph): Graph {
  if (isPlain(choice)) return graph;
  const projection = projectionOf(graph);
  return rebuild(graph, shapeRules, {
    dtype: ({ storage, shape, dtype }) => (storage === 'parameter' && shape.length >= 2 ? choice.weights : dtype),
    inputs: (builder, node, inputs) => (node === projection ? inputs.map((id, index) => (index === 0 ? inType(builder, id, 'f32') : id)) : inputs),
    outputs: (builder, node, outputs) => (node.op === 'embedding' ? outputs.map((id) => inType(builder, id, choice.activations)) : outputs),
  });
}

/** The node that makes the logits of the cross-entropy. An op that projects for itself takes activations as they are. */
function projectionOf(graph: Graph): Node | undefined {
  const made = producers(graph);
  const loss = graph.nodes.find(({ op }) => op === 'cross_entropy');
  const maker = made.get(loss?.inputs[0] ?? -1);
  return maker === undefined ? undefined : graph.nodes[maker];
}

function inType(builder: GraphBuilder, id: ValueId, dtype: PrecisionChoice['activations']): ValueId {
  return builder.type(id).dtype === dtype ? id : cast(builder, id, dtype);
}

function named({ activations, weights }: PrecisionChoice): string {
  switch (activations) {
    case 'f32':
      return weights === 'f32' ? 'f32' : 'f32 activations, bf16 weights without f32 masters';
    case 'bf16':
      return weights === 'f32' ? 'bf16 activations, f32 weights' : 'bf16 activations, bf16 weights without f32 masters';
    case 'f16':
      return `f16 activations with a dynamic loss scale, ${weights === 'f32' ? 'f32 weights' : 'bf16 weights without f32 masters'}`;
    default:
      return activations satisfies never;
  }
}

function saving({ activations, weights }: PrecisionChoice): string {
  const parts = [
    ...(activations === 'f32' ? [] : ['half of the activations and of their gradients, logits apart']),
    ...(weights === 'f32' ? [] : ['2 bytes per element of every matrix and embedding']),
  ];
  return parts.length === 0 ? 'nothing' : parts.join('; ');
}

function cost({ activations, weights }: PrecisionChoice): string {
  const parts = [
    ...(activations === 'bf16' ? ['activations of 8 significant bits'] : []),
    ...(activations === 'f16' ? ['activations of 11 significant bits up to 65504; updates whose gradients overflow are skipped'] : []),
    ...(weights === 'bf16' ? ['weights of 8 significant bits: updates are rounded'] : []),
  ];
  return parts.length === 0 ? 'nothing' : parts.join('; ');
}
