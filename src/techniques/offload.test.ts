/** The rewrites on a small model: what is moved and when; that the numbers stay, bit for bit; and where the state lies. */

import { describe, expect, it } from 'vitest';
import { RandomStream } from '../base/random.ts';
import { appendBackward } from '../compile/backward.ts';
import { compile, constantsOf, optimise } from '../compile/compile.ts';
import { lower } from '../compile/lower.ts';
import { appendUpdate } from '../compile/update.ts';
import { createCpuDevice } from '../devices/cpu/cpu-device.ts';
import { cpuSpec } from '../devices/cpu/cpu-spec.ts';
import type { Device } from '../devices/device.ts';
import { createReferenceDevice } from '../devices/reference/reference-device.ts';
import { GraphBuilder } from '../graph/builder.ts';
import { encodeElements } from '../graph/dtype.ts';
import type { Graph, Node } from '../graph/graph.ts';
import { byteCount, elementCount } from '../graph/shape.ts';
import { planMemory, type MemoryPlan } from '../memory/memory-plan.ts';
import { buildForward } from '../models/index.ts';
import { parseModelConfig } from '../models/model-config.ts';
import { shapeRules } from '../ops/index.ts';
import { adamw } from '../optimizers/adamw.ts';
import { sgd } from '../optimizers/sgd.ts';
import type { UpdateRule } from '../optimizers/update-rule.ts';
import { plainPlan } from '../run/training-plan.ts';
import { TrainingState } from '../train/training-state.ts';
import { offloadActivations } from './offload-activations.ts';
import { offloadOptimizerState } from './offload-optimizer-state.ts';
import type { OffloadLimits } from './offload-schedule.ts';

const [ROWS, LENGTH, VOCABULARY, LAYERS] = [2, 24, 40, 4];
const model = parseModelConfig({
  architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_size: 32, intermediate_size: 48, num_hidden_layers: LAYERS, num_attention_heads: 4,
  num_key_value_heads: 2, vocab_size: VOCABULARY, tie_word_embeddings: true, max_position_embeddings: 64, rms_norm_eps: 1e-5, hidden_act: 'silu',
}, 'test');
const limits: OffloadLimits = { sliceElements: 256, slicesPerLayer: 1024, leastStateBytes: 256, leastActivationBytes: 512, depth: 2 };
const ADAMW = adamw({ kind: 'adamw', beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1 });
const MOMENTUM = sgd({ kind: 'sgd', momentum: 0.9, weightDecay: 0.01 });

/** Forward, backward and update of one micro-batch, before any technique. */
function stepGraph(rule: UpdateRule): Graph {
  const builder = new GraphBuilder(shapeRules);
  buildForward(builder, model, { rows: ROWS, length: LENGTH });
  const trained = builder.finish().values.filter(({ storage }) => storage === 'parameter').map(({ id }) => id);
  const gradients = appendBackward(builder, { trained, mode: 'whole', scalesLoss: false });
  appendUpdate(builder, gradients.map(({ parameter, uses }) => ({ parameter, gradient: uses[0]! })), { rule, plan: plainPlan({ rowLength: LENGTH }), isEmbedding: () => false });
  return builder.finish();
}

interface Trained {
  readonly losses: readonly number[];
  /** Bytes of every parameter and every state tensor, by name. */
  readonly values: ReadonlyMap<string, Buffer>;
  readonly stateNames: readonly string[];
}

async function trained(device: Device, graph: Graph): Promise<Trained> {
  const finished = optimise(graph);
  const memory = planMemory({ step: finished }, device);
  const program = lower(memory.programs[0]!, memory);
  const state = await TrainingState.create(device, memory, constantsOf([finished]));
  try {
    const random = new RandomStream(1, 0);
    for (const { value } of state.blocks('parameter')) {
      const fill = Float32Array.from({ length: elementCount(value.shape) }, () => 0.3 * (random.uniform() - 0.5));
      state.writer(value.name, 'f32')(encodeElements('f32', fill), 0);
    }
    const ids = Int32Array.from({ length: ROWS * LENGTH }, (_, i) => (i * 7 + (i >> 2)) % VOCABULARY);
    const inputs = {
      ids, labels: ids.map((id) => (id + 1) % VOCABULARY), positions: ids.map((_, i) => i % LENGTH), documentStart: new Int32Array(ids.length),
      lossWeight: 1 / ids.length, learningRate: 1e-2,
    };
    const losses: number[] = [];
    for (let step = 1; step <= 3; step++) {
      state.setInputs(program, { ...inputs, step });
      expect((await state.program(program).run()).completed).toBe(true);
      losses.push(state.output(program, 'loss').reduce((sum, row) => sum + row, 0));
    }
    const all = [...state.blocks('parameter'), ...state.blocks('optimizer-state')].map(({ value }) => value.name);
    return { losses, values: new Map(all.map((name) => [name, Buffer.concat([...state.pieces(name, 'f32')])])), stateNames: state.blocks('optimizer-state').map(({ value }) => value.name) };
  } finally {
    state.free();
  }
}

const positionsOf = (graph: Graph, pick: (node: Node) => boolean): readonly number[] => graph.nodes.flatMap((node, position) => (pick(node) ? [position] : []));

describe.each([['adamw', ADAMW], ['sgd with momentum', MOMENTUM]] as const)('state of %s', (_, rule) => {
  const plain = stepGraph(rule);

  it.each([1, 2, 3])('in the file trains to the same bits, %i slices ahead', async (depth) => {
    const moved = offloadOptimizerState(plain, { ...limits, depth });
    for (const device of [createReferenceDevice(), createCpuDevice({ threads: 1 }), createCpuDevice({ threads: 3, guardPages: true })]) {
      const [wanted, found] = [await trained(device, plain), await trained(device, moved)];
      expect(wanted.losses.at(-1)!).toBeLessThan(wanted.losses[0]!);
      expect(found.losses).toEqual(wanted.losses);
      expect(found.stateNames).toEqual(wanted.stateNames);
      for (const [name, bytes] of wanted.values) expect(found.values.get(name)?.equals(bytes), `${device.description}: ${name}`).toBe(true);
    }
  });

  it('leaves the arena, but for what is small', () => {
    const device = createCpuDevice({ threads: 2 });
    const memory = planMemory({ step: optimise(offloadOptimizerState(plain, limits)) }, device);
    const states = planMemory({ step: optimise(plain) }, device).persistent;
    const large = [...states.values()].filter(({ value }) => value.storage === 'optimizer-state' && byteCount(value) >= limits.leastStateBytes).map(({ value }) => value.name);
    expect(large.length).toBeGreaterThan(4);
    expect([...memory.filed.keys()].sort()).toEqual([...large].sort());
    const kept = [...memory.persistent.values()].filter(({ value }) => value.storage === 'optimizer-state');
    expect(kept.length).toBeGreaterThan(0);
    expect(kept.every(({ value }) => byteCount(value) < limits.leastStateBytes)).toBe(true);
    const places = [...memory.filed.values()].sort((a, b) => a.at - b.at);
    places.forEach(({ at, value }, index) => {
      expect(at % 4096).toBe(0);
      expect(at + byteCount(value)).toBeLessThanOrEqual(places[index + 1]?.at ?? memory.fileBytes);
    });
    expect(places.map(({ value }) => value.name)).toEqual([...large].sort());
  });

  it('is read so many slices ahead and written so many behind', () => {
    const depth = 3;
    const { nodes } = offloadOptimizerState(plain, { ...limits, depth });
    const updates = positionsOf({ ...plain, nodes }, (node) => node.phase === 'update' && node.inputs.some((id) => nodes.some((other) => other.op === 'offload_wait' && other.outputs.includes(id))));
    expect(updates.length).toBeGreaterThan(20);
    const slice = new Map(updates.map((position, index) => [position, index]));
    for (const [position, index] of slice) {
      const [ahead, before] = [updates[index - depth], updates[index - depth - 1]];
      const waits = nodes.filter((node) => node.op === 'offload_wait' && nodes[position]!.inputs.includes(node.outputs[0]!));
      for (const wait of waits) {
        const read = nodes.findIndex((node) => node.op === 'offload_read' && node.outputs[0] === wait.inputs[0]);
        expect(read).toBeLessThan(ahead ?? position);
        if (before !== undefined) expect(read).toBeGreaterThan(before);
      }
      const flushes = positionsOf({ ...plain, nodes }, (node) => node.op === 'offload_flush' && nodes[position]!.outputs.includes(node.inputs[0]!));
      expect(flushes.length).toBe(waits.length);
      for (const flush of flushes) {
        expect(flush).toBeGreaterThan(updates[Math.min(index + depth, updates.length - 1)]!);
        expect(flush).toBeLessThan(updates[index + depth + 1] ?? Infinity);
      }
    }
  });
});

describe('activations', () => {
  const plain = stepGraph(ADAMW);

  it.each([1, 2, LAYERS, LAYERS + 5])('of the first %i layers in the file train to the same bits', async (layers) => {
    const moved = offloadActivations(plain, layers, limits);
    expect(moved.regions?.length).toBeGreaterThan(3 * Math.min(layers, LAYERS));
    expect(moved.regions?.every(({ scope }) => Number(/layers\.(\d+)/.exec(scope)?.[1]) < layers)).toBe(true);
    for (const device of [createReferenceDevice(), createCpuDevice({ threads: 2, guardPages: true })]) {
      const [wanted, found] = [await trained(device, plain), await trained(device, moved)];
      expect(found.losses).toEqual(wanted.losses);
      for (const [name, bytes] of wanted.values) expect(found.values.get(name)?.equals(bytes), name).toBe(true);
    }
  });

  it('are read a layer ahead, and waited for where they are needed first', () => {
    const { nodes } = offloadActivations(plain, LAYERS, limits);
    const layerOf = ({ scope }: Node): number => Number(/layers\.(\d+)/.exec(scope)?.[1] ?? LAYERS);
    const waits = nodes.flatMap((node, position) => (node.op === 'offload_wait' ? [position] : []));
    expect(waits.length).toBeGreaterThan(4 * LAYERS);
    for (const position of waits) {
      const wait = nodes[position]!;
      const begun = nodes.findIndex(({ outputs }) => outputs[0] === wait.inputs[0]);
      const needed = nodes.findIndex(({ inputs }, later) => later > position && inputs.includes(wait.outputs[0]!));
      expect(nodes.slice(position, needed).every(({ op }) => op === 'offload_wait' || op === 'offload_read')).toBe(true);
      const between = new Set(nodes.slice(begun, needed).filter(({ op, phase }) => phase === 'backward' && !op.startsWith('offload')).map(layerOf));
      expect([...between], `layer ${layerOf(nodes[needed]!)}`).toContain(Math.min(layerOf(nodes[needed]!) + 1, LAYERS));
      expect(Math.max(...between)).toBeLessThanOrEqual(layerOf(nodes[needed]!) + 1);
    }
  });

  it('leave the memory of the plan', () => {
    const wide = parseModelConfig({
      architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_size: 576, intermediate_size: 1536, num_hidden_layers: 12, num_attention_heads: 9,
      num_key_value_heads: 3, vocab_size: 512, tie_word_embeddings: true, max_position_embeddings: 2048, rms_norm_eps: 1e-5, hidden_act: 'silu',
    }, 'test');
    const arena = (activationLayers: number, optimizerState: boolean): MemoryPlan => compile({
      model: wide, device: cpuSpec({ threads: 2 }), purpose: 'train',
      plan: { ...plainPlan({ rowLength: 512 }), batch: { rowsPerUpdate: 8, microBatchSize: 4, accumulationSteps: 2 }, offload: { activationLayers, optimizerState } },
    }).memory;
    const [none, half, all] = [0, 6, 12].map((layers) => arena(layers, false));
    // All twelve layers hold the same; at the peak of the last plan the buffers of one or two layers are there.
    const perLayer = (none!.arenaBytes - half!.arenaBytes) / 6;
    expect(perLayer).toBeGreaterThan(60e6);
    expect(none!.arenaBytes - all!.arenaBytes).toBeGreaterThan(9 * perLayer);
    expect(all!.fileBytes).toBeGreaterThan(1.9 * half!.fileBytes);
    // Two moments leave, but for the buffers of five slices.
    const moments = 8 * 12 * (3 * 576 * 1536 + 576 * 576 * 2 + 2 * 576 * 192);
    expect(none!.arenaBytes - arena(0, true).arenaBytes).toBeGreaterThan(moments - 5 * 2 * 4 * 2 ** 20);
  });

  it('together with the state, each in its own place of the file', async () => {
    const device = createCpuDevice({ threads: 2 });
    const both = offloadOptimizerState(offloadActivations(plain, 3, limits), limits);
    const [wanted, found] = [await trained(device, plain), await trained(device, both)];
    expect(found.losses).toEqual(wanted.losses);
    for (const [name, bytes] of wanted.values) expect(found.values.get(name)?.equals(bytes), name).toBe(true);
    const memory = planMemory({ step: optimise(both) }, device);
    const ranges = both.regions!.map((value, index) => ({ from: memory.programs[0]!.regionOffsets[index]!, to: memory.programs[0]!.regionOffsets[index]! + byteCount(value) }));
    const sorted = [...ranges].sort((a, b) => a.from - b.from);
    sorted.forEach(({ to }, index) => expect(to).toBeLessThanOrEqual(sorted[index + 1]?.from ?? memory.fileBytes));
  });

  it('of a graph without backward stay', () => {
    const builder = new GraphBuilder(shapeRules);
    buildForward(builder, model, { rows: ROWS, length: LENGTH });
    const graph = builder.finish();
    expect(offloadOptimizerState(offloadActivations(graph, LAYERS, limits), limits)).toBe(graph);
  });
});
