/** verifyGraph, printGraph and the walks, on real ops (graph/ itself knows none). */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { interpret } from '../devices/reference/interpret.ts';
import { GraphBuilder } from '../graph/builder.ts';
import type { Graph, Node } from '../graph/graph.ts';
import { elementCount } from '../graph/shape.ts';
import { printGraph } from '../graph/print.ts';
import { verifyGraph } from '../graph/verify.ts';
import { ancestors, consumers, descendants, liveNodes, overwriters, producers, topologicalOrder } from '../graph/walk.ts';
import { RandomStream } from '../base/random.ts';
import { shapeRules } from './index.ts';
import { linear } from './matmul.ts';
import { rmsNorm } from './rmsnorm.ts';
import { randomGraph } from './testing/random-graph.ts';
import { at } from './rules.ts';

const graphs = fc.record({ seed: fc.nat(1_000_000), nodeCount: fc.integer({ min: 1, max: 30 }) });

function withNode(graph: Graph, position: number, change: Partial<Node>): Graph {
  return { ...graph, nodes: graph.nodes.map((node, i) => (i === position ? { ...node, ...change } : node)) };
}

describe('verifyGraph', () => {
  it('accepts every graph that the builder makes', () => {
    fc.assert(fc.property(graphs, ({ seed, nodeCount }) => verifyGraph(randomGraph(seed, nodeCount), shapeRules)));
  });

  it('wants names of their own for what the graph reads or keeps, and for nothing else', () => {
    const b = new GraphBuilder(shapeRules);
    const x = b.input('x', 'f32', 4);
    const p = b.parameter('p', 'f32', 4);
    for (const name of ['y', 'y', 'x']) b.node('add', [x, x], {}, { names: [name] });
    const [later] = b.node('add', [p, x], {}, { overwrites: [{ output: 0, input: 0 }], names: ['y'] });
    const graph = b.finish();
    verifyGraph(graph, shapeRules);
    expect(graph.values[later!]!.name).toBe('p');
    const renamed = (id: number, name: string): Graph => ({ ...graph, values: graph.values.map((value) => (value.id === id ? { ...value, name } : value)) });
    expect(() => verifyGraph(renamed(p, 'x'), shapeRules)).toThrow(/two values are named 'x'/);
    expect(() => verifyGraph(renamed(later!, 'q'), shapeRules)).toThrow(/persistent 'p' is overwritten by 'q'/);
    const kept = { ...graph, values: graph.values.map((value) => (value.name === 'y' ? { ...value, persistent: true } : value)) };
    expect(() => verifyGraph(kept, shapeRules)).toThrow(/two values are named 'y'/);
  });

  it('finds two dependent nodes that changed places', () => {
    fc.assert(
      fc.property(graphs, ({ seed, nodeCount }) => {
        const graph = randomGraph(seed, nodeCount);
        const made = producers(graph);
        graph.nodes.forEach((node, position) => {
          const maker = Math.max(-1, ...node.inputs.map((id) => made.get(id) ?? -1));
          if (maker < 0) return;
          const nodes = [...graph.nodes];
          [nodes[maker], nodes[position]] = [at(graph.nodes, position), at(graph.nodes, maker)];
          expect(() => verifyGraph({ ...graph, nodes }, shapeRules)).toThrow(/read before it is made/);
        });
      }),
      { numRuns: 30 },
    );
  });

  /** y = 2·x twice, then a sum; the second node may overwrite the first's input when told to. */
  function chain(): Graph {
    const b = new GraphBuilder(shapeRules);
    const x = b.input('x', 'f32', 4);
    const factor = b.constant('two', 'f32', [2]);
    const [first] = b.node('scale', [x, factor]);
    const [second] = b.node('scale', [first ?? 0, factor]);
    const [third] = b.node('scale', [first ?? 0, factor]);
    b.output('sum', at(b.node('add', [second ?? 0, third ?? 0]), 0));
    return b.finish();
  }

  it('accepts the last reader as the overwriting one', () => {
    verifyGraph(withNode(chain(), 2, { overwrites: [{ output: 0, input: 0 }] }), shapeRules);
  });

  it('finds a reader after the overwriting node', () => {
    expect(() => verifyGraph(withNode(chain(), 1, { overwrites: [{ output: 0, input: 0 }] }), shapeRules)).toThrow(/read after it was overwritten/);
  });

  it('finds a value that is overwritten twice in one node', () => {
    const graph = chain();
    const sum = at(graph.nodes, 3);
    const twice = withNode(graph, 3, { overwrites: [{ output: 0, input: 0 }, { output: 0, input: 1 }] });
    expect(() => verifyGraph(twice, shapeRules)).toThrow(/overwrites two inputs/);
    expect(sum.op).toBe('add');
  });

  it('refuses to overwrite inputs and constants', () => {
    expect(() => verifyGraph(withNode(chain(), 0, { overwrites: [{ output: 0, input: 0 }] }), shapeRules)).toThrow(/input 'x' is overwritten/);
    const b = new GraphBuilder(shapeRules);
    const ones = b.constant('ones', 'f32', [1, 1]);
    b.output('y', at(b.node('add', [ones, b.input('x', 'f32', 2)], {}, { overwrites: [] }), 0));
    expect(() => verifyGraph(withNode(b.finish(), 0, { overwrites: [{ output: 0, input: 0 }] }), shapeRules)).toThrow(/constant 'ones' is overwritten/);
  });

  it('finds an output that is overwritten, and one that nothing makes', () => {
    const graph = withNode(chain(), 2, { overwrites: [{ output: 0, input: 0 }] });
    const first = at(at(graph.nodes, 0).outputs, 0);
    expect(() => verifyGraph({ ...graph, outputs: { ...graph.outputs, first } }, shapeRules)).toThrow(/output 'first' is overwritten here/);
    expect(() => verifyGraph({ ...graph, outputs: { none: 1000 } }, shapeRules)).toThrow(/which nothing makes/);
  });

  it('finds wrong shapes, wrong dtypes and values written twice', () => {
    const graph = chain();
    const made = at(at(graph.nodes, 0).outputs, 0);
    const altered = (change: object): Graph => ({ ...graph, values: graph.values.map((value) => (value.id === made ? { ...value, ...change } : value)) });
    expect(() => verifyGraph(altered({ shape: [5] }), shapeRules)).toThrow(/must be f32\[4\]/);
    expect(() => verifyGraph(altered({ dtype: 'bf16' }), shapeRules)).toThrow(/must be f32\[4\]/);
    expect(() => verifyGraph(withNode(graph, 1, { outputs: [made] }), shapeRules)).toThrow(/written twice/);
  });
});

describe('printGraph', () => {
  it('has a line per input, node and output', () => {
    const b = new GraphBuilder(shapeRules);
    const x = b.input('x', 'f32', 1, 2, 4);
    const y = b.scope('layers.0', () => linear(b, rmsNorm(b, x, b.parameter('norm', 'f32', 4), { epsilon: 0.5 }), b.parameter('w', 'f32', 3, 4)));
    b.output('y', y);
    expect(printGraph(b.finish())).toMatchInlineSnapshot(`
      "%0 f32[1,2,4] x: input
      %1 f32[4] norm*: parameter
      %4 f32[3,4] w*: parameter
      %2 f32[1,2,4] layers.0/rmsnorm, %3 f32[1,2,1] layers.0/rmsnorm = rmsnorm(%0, %1; epsilon=0.5)  forward layers.0
      %5 f32[1,2,3] layers.0/matmul_nt = matmul_nt(%2, %4; bias=0)  forward layers.0
      output y = %5"
    `);
  });

  it('shows what is overwritten', () => {
    const graph = randomGraph(3, 20);
    const text = printGraph(graph);
    expect(text.split('\n')).toHaveLength(graph.inputs.length + graph.nodes.length + 2);
    for (const [from, { by }] of overwriters(graph)) expect(text).toMatch(new RegExp(`%${by} [^\\n]* => %${from} `));
  });
});

describe('walks', () => {
  it('consumers and producers are each other turned round', () => {
    fc.assert(
      fc.property(graphs, ({ seed, nodeCount }) => {
        const graph = randomGraph(seed, nodeCount);
        const [made, readers] = [producers(graph), consumers(graph)];
        for (const value of graph.values) {
          const expected = graph.nodes.flatMap((node, position) => (node.inputs.includes(value.id) ? [position] : []));
          expect(readers.get(value.id) ?? []).toEqual(expected);
          expect(made.has(value.id)).toBe(!graph.inputs.includes(value.id));
        }
      }),
    );
  });

  it('a value is an ancestor of what descends from it', () => {
    fc.assert(
      fc.property(graphs, fc.nat(), fc.nat(), ({ seed, nodeCount }, i, j) => {
        const graph = randomGraph(seed, nodeCount);
        const [a, b] = [i % graph.values.length, j % graph.values.length];
        expect(ancestors(graph, [a]).has(b)).toBe(descendants(graph, [b]).has(a));
      }),
    );
  });

  it('the nodes that are not live change no output', () => {
    fc.assert(
      fc.property(graphs, ({ seed, nodeCount }) => {
        const graph = randomGraph(seed, nodeCount);
        const live = liveNodes(graph);
        const smaller = { ...graph, nodes: live };
        verifyGraph(smaller, shapeRules);
        const random = new RandomStream(seed, 1);
        const inputs = Object.fromEntries(
          graph.inputs.map((id) => [at(graph.values, id).name, Float64Array.from({ length: elementCount(at(graph.values, id).shape) }, () => random.normal())]),
        );
        expect(interpret(smaller, inputs)).toEqual(interpret(graph, inputs));
        const needed = ancestors(graph, Object.values(graph.outputs));
        expect(live.every(({ outputs }) => outputs.some((id) => needed.has(id)))).toBe(true);
      }),
    );
  });

  it('an order that holds is kept, and a shuffled one is mended', () => {
    fc.assert(
      fc.property(graphs, ({ seed, nodeCount }) => {
        const graph = randomGraph(seed, nodeCount);
        expect(topologicalOrder(graph)).toEqual(graph.nodes);
        const shuffled = { ...graph, nodes: new RandomStream(seed, 2).shuffle([...graph.nodes]) };
        const mended = { ...graph, nodes: topologicalOrder(shuffled) };
        expect(mended.nodes).toHaveLength(graph.nodes.length);
        verifyGraph(mended, shapeRules);
      }),
    );
  });

  it('nodes that wait for one another have no order', () => {
    const graph = randomGraph(1, 5);
    const last = at(graph.nodes, 4);
    const first = withNode(graph, 0, { inputs: [at(last.outputs, 0)] });
    expect(() => topologicalOrder(withNode(first, 4, { inputs: [at(at(graph.nodes, 0).outputs, 0)] }))).toThrow(/wait for one another/);
  });
});
