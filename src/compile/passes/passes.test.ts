import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../graph/builder.ts';
import type { Graph } from '../../graph/graph.ts';
import { verifyGraph } from '../../graph/verify.ts';
import { gelu } from '../../ops/gelu.ts';
import { shapeRules } from '../../ops/index.ts';
import { add } from '../../ops/pointwise.ts';
import { removeDeadCode } from './dead-code.ts';
import { reuseInPlace } from './in-place.ts';
import { shareCommonSubexpressions } from './common-subexpressions.ts';

/** a = gelu(x), b = gelu(a), c = a + b; and twice the same, and something nobody reads. */
function graph(): Graph {
  const builder = new GraphBuilder(shapeRules);
  const x = builder.input('x', 'f32', 2, 3);
  const a = gelu(builder, x, { approximate: 'none' });
  const b = gelu(builder, a, { approximate: 'none' });
  const again = gelu(builder, a, { approximate: 'none' });
  gelu(builder, again, { approximate: 'tanh' });
  builder.output('sum', add(builder, a, add(builder, b, again)));
  return builder.finish();
}

const ops = ({ nodes }: Graph): string => nodes.map(({ op, overwrites }) => `${op}${overwrites.map(({ input }) => `@${input}`).join('')}`).join(' ');

describe('passes', () => {
  it('remove what nobody reads', () => {
    expect(ops(removeDeadCode(graph()))).toBe('gelu gelu gelu add add');
  });

  it('compute once what is the same', () => {
    expect(ops(removeDeadCode(shareCommonSubexpressions(graph())))).toBe('gelu gelu add add');
  });

  it('overwrite a value only with its last reader, and never what the host gives or reads', () => {
    const result = reuseInPlace(removeDeadCode(graph()));
    verifyGraph(result, shapeRules);
    // x is an input; a is read again by the last addition; b and its twin die in the first.
    expect(ops(result)).toBe('gelu gelu gelu add@0 add@0');
  });

  it('leave what later runs need', () => {
    const builder = new GraphBuilder(shapeRules);
    const kept = builder.persistent('state', 'optimizer-state', { dtype: 'f32', shape: [4] });
    const y = gelu(builder, kept, { approximate: 'none' });
    builder.keep(gelu(builder, y, { approximate: 'none' }), 'made', 'gradient');
    const result = reuseInPlace(removeDeadCode(builder.finish()));
    expect(ops(result)).toBe('gelu gelu');
  });
});
