/** The optimizers' rules against torch.optim and transformers (tools/goldens/optimizers_goldens.py), by the definitions of the ops in f64. */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { interpretAll } from '../../src/devices/reference/interpret.ts';
import { GraphBuilder } from '../../src/graph/builder.ts';
import { elementCount } from '../../src/graph/shape.ts';
import { shapeRules } from '../../src/ops/index.ts';
import { optimizer } from '../../src/techniques/optimizer.ts';
import type { OptimizerChoice } from '../../src/run/training-plan.ts';

interface Golden {
  readonly learningRate: number;
  readonly shapes: readonly (readonly number[])[];
  readonly starts: readonly (readonly number[])[];
  readonly gradients: readonly (readonly (readonly number[])[])[];
  readonly cases: Readonly<Record<string, { readonly choice: OptimizerChoice; readonly after: readonly (readonly (readonly number[])[])[] }>>;
}

const golden = JSON.parse(readFileSync(fileURLToPath(new URL('optimizers.json', import.meta.url)), 'utf8')) as Golden;

/** The parameter after each step. */
function updates(choice: OptimizerChoice, shape: readonly number[], start: readonly number[], gradients: readonly (readonly number[])[]): readonly Float64Array[] {
  if (optimizer.action.stage !== 'update') throw new Error('the optimizer acts at stage update');
  const rule = optimizer.action.rule(choice);
  const builder = new GraphBuilder(shapeRules);
  const parameter = builder.parameter('p', 'f32', ...shape);
  const types = rule.state({ name: 'p', dtype: 'f32', shape, isEmbedding: false });
  const state = types.map((type) => builder.persistent(type.name, 'optimizer-state', type));
  rule.update({
    builder, parameter, gradient: builder.input('gradient', 'f32', ...shape), state, learningRate: builder.input('learningRate', 'f32', 1),
    step: builder.input('step', 'i32', 1), gradientScale: builder.input('gradientScale', 'f32', 1), isEmbedding: false, roundingSeed: 0,
  });
  const graph = builder.finish();
  const [node] = graph.nodes;
  if (node === undefined || graph.nodes.length !== 1) throw new Error('one node was expected');
  let now: Record<string, Float64Array> = { p: Float64Array.from(start), ...Object.fromEntries(types.map((type) => [type.name, new Float64Array(elementCount(type.shape))])) };
  return gradients.map((gradient, index) => {
    const found = interpretAll(graph, {
      ...now, gradient: Float64Array.from(gradient), learningRate: Float64Array.of(golden.learningRate), step: Float64Array.of(index + 1), gradientScale: Float64Array.of(1),
    });
    now = Object.fromEntries(node.overwrites.map(({ input, output }) => [graph.values[node.inputs[input]!]!.name, found.get(node.outputs[output]!)!]));
    return now['p']!;
  });
}

describe.each(Object.entries(golden.cases))('%s', (_name, { choice, after }) => {
  it.each(golden.shapes.map((shape, index) => [shape.join(' x '), index] as const))('of %s', (_shape, index) => {
    const found = updates(choice, golden.shapes[index]!, golden.starts[index]!, golden.gradients[index]!);
    const expected = after[index]!;
    expect(found).toHaveLength(expected.length);
    expected.forEach((values, step) => {
      const worst = Math.max(...values.map((value, i) => Math.abs(value - found[step]![i]!)));
      expect(worst, `step ${step + 1}`).toBeLessThan(1e-11);
    });
  });
});
