/** The nodes of transfers: their types, what is refused, and what they mean. What devices do: devices/file-conformance.test.ts. */

import { describe, expect, it } from 'vitest';
import { interpret } from '../devices/reference/interpret.ts';
import { GraphBuilder } from '../graph/builder.ts';
import type { Graph } from '../graph/graph.ts';
import { tensor, type TensorType } from '../graph/shape.ts';
import { liveNodes } from '../graph/walk.ts';
import { verifyGraph } from '../graph/verify.ts';
import { opOf, shapeRules } from './index.ts';
import { offloadFlush, offloadRead, offloadWait, offloadWrite } from './offload.ts';

/** x is written, changed meanwhile nowhere, and read back at `at` bytes of its region as `type`. */
function thereAndBack(type: TensorType, { at, length }: { readonly at: number; readonly length: number }): Graph {
  const b = new GraphBuilder(shapeRules);
  const x = b.input('x', type.dtype, ...type.shape);
  const region = b.region({ ...b.type(x), name: 'kept', shape: [length] });
  const token = offloadFlush(b, x, offloadWrite(b, x, { region, at }));
  b.output('y', offloadWait(b, offloadRead(b, type, { region, at }, { after: token })));
  b.output('fresh', offloadWait(b, offloadRead(b, tensor('f32', 2), { region, at: 4 * length - 8 })));
  return b.finish();
}

describe('transfers', () => {
  it('give back what was written, and zeros where nothing was', () => {
    const graph = thereAndBack(tensor('f32', 2, 3), { at: 8, length: 12 });
    verifyGraph(graph, shapeRules);
    const { y, fresh } = interpret(graph, { x: Float64Array.of(1, 2, 3, 4, 5, 6) });
    expect([...y!]).toEqual([1, 2, 3, 4, 5, 6]);
    expect([...fresh!]).toEqual([0, 0]);
  });

  it('are kept though nobody reads their tokens, and by builders that go on with a graph', () => {
    const b = new GraphBuilder(shapeRules);
    const x = b.input('x', 'u8', 5);
    const token = offloadWrite(b, x, { region: b.region(b.type(x)), at: 0 });
    offloadFlush(b, x, token);
    const graph = GraphBuilder.from(b.finish(), shapeRules).finish();
    expect(liveNodes(graph)).toEqual(graph.nodes);
    expect(graph.regions?.map(({ name }) => name)).toEqual(['x']);
  });

  it.each([tensor('u8', 7), tensor('bf16', 2, 3, 4, 5), tensor('i32', 1), tensor('f16', 3, 1)])('of %j know the type that is read', (type) => {
    const b = new GraphBuilder(shapeRules);
    const y = b.type(offloadRead(b, type, { region: b.region({ ...type, id: 0, name: 'r', storage: 'workspace', persistent: false, scope: '' }), at: 0 }));
    expect({ dtype: y.dtype, shape: y.shape }).toEqual(type);
  });

  it('refuse what is no type or place', () => {
    const read = { at: 0, dtype: 0, rank: 2, size0: 3, size1: 4, size2: 1, size3: 1 };
    const infer = (attrs: Partial<typeof read>, inputs: readonly TensorType[] = []): unknown => opOf('offload_read').infer(inputs, { ...read, ...attrs });
    expect(infer({})).toEqual([tensor('f32', 3, 4)]);
    for (const wrong of [{ at: -1 }, { at: 0.5 }, { at: 2 ** 53 }, { dtype: 5 }, { dtype: 0.5 }, { rank: 5 }, { rank: 1 }, { size1: 0 }, { size2: 2 }]) expect(() => infer(wrong), JSON.stringify(wrong)).toThrow();
    expect(() => infer({}, [tensor('f32', 1)])).toThrow(/token/);
    expect(() => opOf('offload_write').infer([tensor('f32', 1)], { at: NaN })).toThrow(/'at'/);
    expect(() => opOf('offload_flush').infer([tensor('f32', 1)], {})).toThrow(/takes 2/);
  });

  it('stay inside their region', () => {
    expect(() => verifyGraph(thereAndBack(tensor('f32', 6), { at: 8, length: 8 }), shapeRules)).not.toThrow();
    expect(() => verifyGraph(thereAndBack(tensor('f32', 6), { at: 12, length: 8 }), shapeRules)).toThrow(/leaves the region 'kept' of 32 bytes/);
    const graph = thereAndBack(tensor('f32', 6), { at: 0, length: 8 });
    expect(() => verifyGraph({ ...graph, regions: [] }, shapeRules)).toThrow(/no region 0/);
  });
});
