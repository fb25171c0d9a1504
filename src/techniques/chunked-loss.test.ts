import { describe, expect, it } from 'vitest';
import { GraphBuilder, type ShapeRules } from '../graph/builder.ts';
import type { Graph } from '../graph/graph.ts';
import { tensor } from '../graph/shape.ts';
import { verifyGraph } from '../graph/verify.ts';
import { crossEntropy } from '../ops/cross-entropy.ts';
import { shapeRules } from '../ops/index.ts';
import { linear } from '../ops/matmul.ts';
import { resolveSettings } from '../run/resolve-settings.ts';
import type { RunConfig } from '../run/run-config.ts';
import { plainPlan, type LossChoice } from '../run/training-plan.ts';
import { chunkedLoss } from './chunked-loss.ts';

const values = (changes: Partial<RunConfig>): readonly LossChoice[] =>
  chunkedLoss.values({ settings: resolveSettings({ model: 'm', dataset: 'd.jsonl', ...changes }), maxLength: 512, bucketLengths: [], rowsPerEpoch: 100 });

const chunked = (blocks: number): LossChoice => ({ kind: 'chunked', blocks });

/** Knows a cast to f32 besides the ops. */
const rules: ShapeRules = {
  infer: (op, inputs, attrs) => (op === 'cast' ? [tensor('f32', ...inputs[0]!.shape)] : shapeRules.infer(op, inputs, attrs)),
};

interface HeadOptions {
  readonly casts?: boolean;
  readonly bias?: boolean;
}

function headGraph({ casts = false, bias = false }: HeadOptions = {}): Graph {
  const b = new GraphBuilder(rules);
  const hidden = b.parameter('hidden', casts ? 'bf16' : 'f32', 2, 5, 7);
  const wide = casts ? b.node('cast', [hidden])[0]! : hidden;
  const logits = linear(b, wide, b.parameter('head', 'f32', 11, 7), bias ? b.parameter('bias', 'f32', 11) : undefined);
  const labels = b.input('labels', 'i32', 2, 5);
  b.output('loss', b.scope('loss', () => crossEntropy(b, { logits, labels, lossWeight: b.input('lossWeight', 'f32', 1) })));
  return b.finish();
}

function rewrite(value: LossChoice, graph: Graph): Graph {
  if (chunkedLoss.action.stage !== 'forward') throw new Error('expected a forward rewrite');
  return chunkedLoss.action.rewrite(value, graph);
}

describe('chunked loss', () => {
  it('is chosen, the smallest slices first, unless the key says otherwise', () => {
    expect(values({})).toEqual([chunked(1), chunked(4), { kind: 'whole' }]);
    expect(values({ chunked_loss: true })).toEqual([chunked(1), chunked(4)]);
    expect(values({ chunked_loss: false })).toEqual([{ kind: 'whole' }]);
  });

  it.each([{ casts: false }, { casts: true }])('puts one node in the place of projection and loss, %o', ({ casts }) => {
    const graph = headGraph({ casts });
    const rewritten = rewrite(chunked(2), graph);
    verifyGraph(rewritten, rules);
    expect(rewritten.nodes.map(({ op, attrs, scope }) => ({ op, attrs, scope }))).toEqual([{ op: 'linear_cross_entropy', attrs: { blocks: 2 }, scope: 'loss' }]);
    expect(rewritten.nodes[0]!.inputs.map((id) => rewritten.values[id]!.name)).toEqual(['hidden', 'head', 'labels', 'lossWeight']);
    expect(rewritten.outputs).toEqual({ loss: rewritten.nodes[0]!.outputs[0] });
  });

  it('leaves whole logits as they are, and does not pass over a loss that it cannot slice', () => {
    const graph = headGraph();
    expect(rewrite({ kind: 'whole' }, graph)).toBe(graph);
    expect(() => rewrite(chunked(1), headGraph({ bias: true }))).toThrow('without bias');
  });

  it('is bitwise for rows of any length', () => {
    for (const rowLength of [64, 512]) expect(chunkedLoss.numerics(chunked(1), plainPlan({ rowLength }))).toBe('bitwise');
  });

  it('tells what each value saves and costs', () => {
    expect(chunkedLoss.explain(chunked(2)).value).toBe('logits of at most 768 tokens at a time');
    expect(chunkedLoss.explain({ kind: 'whole' }).costs).toBe('tokens × vocabulary × 4 bytes');
  });
});
