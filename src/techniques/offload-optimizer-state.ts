/**
 * Optimizer state in the file. Each update is cut into slices of a parameter; the state of a slice is read into staging buffers a few slices ahead,
 * updated there, and written back behind. Elements are updated by the same arithmetic wherever the cuts are, so no bit changes.
 */

import { GraphBuilder } from '../graph/builder.ts';
import { dtypeBytes } from '../graph/dtype.ts';
import type { Graph, Node, Value, ValueId } from '../graph/graph.ts';
import { layerOf } from '../graph/recompute.ts';
import { byteCount, elementCount } from '../graph/shape.ts';
import { consumers } from '../graph/walk.ts';
import { opOf, shapeRules } from '../ops/index.ts';
import { offloadFlush, offloadRead, offloadWait, offloadWrite } from '../ops/offload.ts';
import { add } from '../ops/pointwise.ts';
import { at } from '../ops/rules.ts';
import { nodesOf, OFFLOAD_LIMITS, type OffloadLimits } from './offload-schedule.ts';

/** Elements that share one number of low-bit state. */
const BLOCK = 256;

interface State {
  readonly input: number;
  readonly output: number;
  readonly value: Value;
  /** Elements of the parameter per element of the state. */
  readonly per: number;
}

/** A node that updates a parameter element by element, with state of its own. */
interface Update {
  readonly node: Node;
  /** Input and output that are the parameter. */
  readonly parameter: { readonly input: number; readonly output: number; readonly elements: number };
  readonly states: readonly State[];
}

/** Some elements of one update, as nodes. */
interface Slice {
  readonly reads: readonly Node[];
  /** Waits for the reads, updates, begins the writes. */
  readonly update: readonly Node[];
  readonly flushes: readonly Node[];
}

/** The graph with all state of at least `leastStateBytes` that can be cut in the file. One without updates comes back as it is. */
export function offloadOptimizerState(graph: Graph, limits: OffloadLimits = OFFLOAD_LIMITS): Graph {
  const updates = updatesOf(graph, limits);
  if (updates.size === 0) return graph;
  const builder = GraphBuilder.from(graph, shapeRules);
  const replaced = new Map<ValueId, ValueId>();
  const sliceElements = Math.max(limits.sliceElements, Math.ceil(largestLayer(updates.values()) / limits.slicesPerLayer / BLOCK) * BLOCK);
  const slices = new Map([...updates].map(([position, update]) => [position, cut(builder, update, { sliceElements, replaced })]));
  const resolve = (id: ValueId): ValueId => replaced.get(id) ?? id;

  const all = [...slices.values()].flat();
  const nodes: Node[] = [];
  let begun = 0;
  let updated = 0;
  const begin = (until: number): void => {
    while (begun < Math.min(until, all.length)) nodes.push(...at(all, begun++).reads);
  };
  const firstUpdate = graph.nodes.findIndex(({ phase }) => phase === 'update');
  graph.nodes.forEach((node, position) => {
    if (position === firstUpdate) begin(limits.depth);
    const mine = slices.get(position);
    if (mine === undefined) nodes.push(node.inputs.some((id) => replaced.has(id)) ? { ...node, inputs: node.inputs.map(resolve) } : node);
    for (const slice of mine ?? []) {
      begin(updated + 1 + limits.depth);
      nodes.push(...slice.update);
      if (updated >= limits.depth) nodes.push(...at(all, updated - limits.depth).flushes);
      updated++;
    }
  });
  for (const slice of all.slice(Math.max(0, updated - limits.depth))) nodes.push(...slice.flushes);

  const whole = builder.finish();
  const gone = new Set([...updates.values()].flatMap(({ node, states }) => [...states.map(({ value }) => value.id), ...node.outputs]));
  return {
    ...whole,
    nodes,
    // What nobody makes or reads any more must not keep its place in the arena.
    values: whole.values.map((value) => (gone.has(value.id) ? { ...value, storage: 'workspace', persistent: false } : value)),
    inputs: whole.inputs.filter((id) => !gone.has(id)),
    outputs: Object.fromEntries(Object.entries(whole.outputs).map(([name, id]) => [name, resolve(id)])),
  };
}

/** Most elements of one layer. Where the cuts are does not depend on how many layers there are. */
function largestLayer(updates: Iterable<Update>): number {
  const elements = new Map<number, number>();
  for (const { node, parameter } of updates) {
    const layer = layerOf(node.scope);
    if (layer !== undefined) elements.set(layer, (elements.get(layer) ?? 0) + parameter.elements);
  }
  return Math.max(0, ...elements.values());
}

/** Updates whose state goes to the file, by position. */
function updatesOf(graph: Graph, limits: OffloadLimits): ReadonlyMap<number, Update> {
  const found = new Map<number, Update>();
  if (!graph.nodes.some(({ phase }) => phase === 'update')) return found;
  const readers = consumers(graph);
  graph.nodes.forEach((node, position) => {
    if (node.phase !== 'update' || !opOf(node.op).attrs.includes('first')) return;
    const overwritten = node.overwrites.map(({ input, output }) => ({ input, output, value: at(graph.values, at(node.inputs, input)) }));
    const parameter = overwritten.find(({ value }) => value.storage === 'parameter');
    const states = overwritten.filter(({ value }) => value.persistent && value.storage === 'optimizer-state');
    if (parameter === undefined || states.length + 1 !== node.overwrites.length) return;
    const elements = elementCount(parameter.value.shape);
    const cuttable = states.flatMap(({ value, ...place }): readonly State[] => {
      const count = elementCount(value.shape);
      const per = count === elements ? 1 : count === Math.ceil(elements / BLOCK) ? BLOCK : undefined;
      const alone = graph.inputs.includes(value.id) && readers.get(value.id)?.length === 1;
      return per === undefined || !alone ? [] : [{ ...place, value, per }];
    });
    const large = states.some(({ value }) => byteCount(value) >= limits.leastStateBytes);
    if (large && cuttable.length === states.length) found.set(position, { node, parameter: { input: parameter.input, output: parameter.output, elements }, states: cuttable });
  });
  return found;
}

/** The slices of one update. The last one makes the parameter that `replaced` gives to readers of the node's own. */
function cut(builder: GraphBuilder, { node, parameter, states }: Update, { sliceElements, replaced }: { readonly sliceElements: number; readonly replaced: Map<ValueId, ValueId> }): readonly Slice[] {
  const { scope, phase } = node;
  const regions = states.map(({ value }) => builder.region(value));
  const oldParameter = at(node.inputs, parameter.input);
  let newest = replaced.get(oldParameter) ?? oldParameter;
  const slices: Slice[] = [];
  for (let first = 0; first < parameter.elements; first += sliceElements) {
    const count = Math.min(sliceElements, parameter.elements - first);
    const places = states.map(({ value, per }, index) => ({ region: at(regions, index), at: (first / per) * dtypeBytes(value.dtype) }));
    let buffers: readonly ValueId[] = [];
    let tokens: readonly ValueId[] = [];
    const reads = nodesOf(builder, { scope, phase }, () => {
      buffers = states.map(({ value, per }, index) => offloadRead(builder, { dtype: value.dtype, shape: [Math.ceil(count / per)] }, at(places, index)));
    });
    const update = nodesOf(builder, { scope, phase }, () => {
      const inputs = node.inputs.map((id) => replaced.get(id) ?? id);
      inputs[parameter.input] = newest;
      states.forEach(({ input }, index) => (inputs[input] = offloadWait(builder, at(buffers, index))));
      const outputs = builder.node(node.op, inputs, { ...node.attrs, first }, { overwrites: node.overwrites });
      newest = at(outputs, parameter.output);
      // What is neither parameter nor state is a sum over elements.
      for (const [index, old] of node.outputs.entries()) {
        if (index === parameter.output || states.some(({ output }) => output === index)) continue;
        const before = replaced.get(old);
        replaced.set(old, before === undefined ? at(outputs, index) : add(builder, before, at(outputs, index)));
      }
      buffers = states.map(({ output }) => at(outputs, output));
      tokens = buffers.map((buffer, index) => offloadWrite(builder, buffer, at(places, index)));
    });
    const flushes = nodesOf(builder, { scope, phase }, () => buffers.forEach((buffer, index) => offloadFlush(builder, buffer, at(tokens, index))));
    slices.push({ reads, update, flushes });
  }
  replaced.set(at(node.outputs, parameter.output), newest);
  return slices;
}
