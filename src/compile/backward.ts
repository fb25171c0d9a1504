/**
 * Reverse-mode differentiation of a graph (Griewank & Walther 2008): walks the forward nodes backwards, asks each op's vjp rule for
 * the gradients of its inputs, and adds up where a value is used more than once.
 *
 * A parameter's gradient is kept *per use*. Over micro-steps each use has its own running sum, so that the order of additions, and
 * with it every bit, does not depend on how many rows a micro-batch holds; the uses of a tied weight are added once, at the end.
 */

import { FulltuneError } from '../base/errors.ts';
import type { GraphBuilder } from '../graph/builder.ts';
import type { Node, ValueId } from '../graph/graph.ts';
import { descendants } from '../graph/walk.ts';
import { opOf } from '../ops/index.ts';
import { add, ones, scale } from '../ops/pointwise.ts';

/**
 * How parameter gradients are treated: `whole`: the program sees the whole update, uses of one parameter are combined at once;
 * `first` / `next`: each use is a running sum over micro-steps, started or continued here.
 */
export type GradientMode = 'whole' | 'first' | 'next';

export interface ParameterGradients {
  readonly parameter: ValueId;
  /** One gradient per use, in the order of the backward pass; a single one in mode `whole`. */
  readonly uses: readonly ValueId[];
}

/** Name of the running gradient of use `index` of a parameter. */
export function gradientName(parameterName: string, index: number): string {
  return index === 0 ? `gradient:${parameterName}` : `gradient:${parameterName}#${index + 1}`;
}

export interface BackwardOptions {
  readonly trained: readonly ValueId[];
  readonly mode: GradientMode;
  /** The seed is the runtime input `lossScale` instead of one: all gradients are that much larger. */
  readonly scalesLoss: boolean;
}

/**
 * Appends the backward pass of the output `loss` (f32 [B]) for the parameters `trained`.
 * Throws E_MODEL when a parameter does not influence the loss, or an op on the way has no vjp.
 */
export function appendBackward(builder: GraphBuilder, { trained, mode, scalesLoss }: BackwardOptions): readonly ParameterGradients[] {
  const loss = builder.outputNamed('loss');
  const forward = [...builder.nodesSoFar];
  const trainedSet = new Set(trained);
  const needed = descendants(builder.finish(), trainedSet);
  const gradients = new Map<ValueId, ValueId>();
  const uses = new Map<ValueId, ValueId[]>();
  const rows = builder.type(loss).shape[0] ?? 1;
  gradients.set(loss, builder.within('loss', 'backward', () => {
    const one = ones(builder, rows);
    return scalesLoss ? scale(builder, one, builder.input('lossScale', 'f32', 1)) : one;
  }));

  for (const node of forward.toReversed()) {
    if (!node.outputs.some((id) => gradients.has(id)) || !node.inputs.some((id) => needed.has(id))) continue;
    builder.within(node.scope, 'backward', () => differentiate(node));
  }

  return trained.map((parameter) => {
    const list = uses.get(parameter);
    if (list === undefined) throw new FulltuneError('E_MODEL', `parameter '${builder.type(parameter).name}' has no influence on the loss`);
    return { parameter, uses: list };
  });

  function differentiate(node: Node): void {
    const op = opOf(node.op);
    if (op.vjp === undefined) throw new FulltuneError('E_MODEL', `op ${node.op} cannot be differentiated`, { where: node.scope });
    const useIndex = (index: number): number => uses.get(node.inputs[index]!)?.length ?? 0;
    const results = op.vjp({
      builder,
      node,
      gradient: (index) => gradients.get(node.outputs[index]!),
      needs: (index) => needed.has(node.inputs[index]!),
      accumulator: (index) => {
        const parameter = node.inputs[index]!;
        if (mode !== 'next' || !trainedSet.has(parameter)) return undefined;
        const type = builder.type(parameter);
        return builder.persistent(gradientName(type.name, useIndex(index)), 'gradient', { dtype: 'f32', shape: type.shape });
      },
      alsoYields: (index, value) => builder.redirectOutputs(node.outputs[index]!, value),
      merge: (index) => (mode === 'whole' && op.merges?.includes(index) ? uses.get(node.inputs[index]!)?.[0] : undefined),
    });
    results.forEach((gradient, index) => {
      const input = node.inputs[index]!;
      if (gradient === undefined || !needed.has(input)) return;
      if (trainedSet.has(input)) addUse(input, gradient, op.merges?.includes(index) ?? false);
      else addTo(input, gradient);
    });
  }

  function addTo(value: ValueId, gradient: ValueId): void {
    const before = gradients.get(value);
    gradients.set(value, before === undefined ? gradient : add(builder, before, gradient));
  }

  function addUse(parameter: ValueId, gradient: ValueId, merges: boolean): void {
    const list = uses.get(parameter) ?? [];
    uses.set(parameter, list);
    const before = list[0];
    if (mode === 'next' && !builder.type(gradient).persistent) {
      throw new Error(`the vjp of a use of '${builder.type(parameter).name}' does not continue the gradient of earlier micro-steps`);
    }
    if (mode === 'first') builder.keep(gradient, gradientName(builder.type(parameter).name, list.length), 'gradient');
    if (mode !== 'whole' || before === undefined) list.push(gradient);
    else list[0] = merges ? gradient : add(builder, before, gradient);
  }
}
