import { describe, expect, it } from 'vitest';
import { alignUp } from '../base/bytes.ts';
import { compile, type CompiledRun } from '../compile/compile.ts';
import type { DeviceSpec } from '../devices/device.ts';
import { parseModelConfig } from '../models/model-config.ts';
import { plainPlan } from '../run/training-plan.ts';
import { offsetOf } from './memory-plan.ts';
import { memoryPicture } from './picture.ts';
import { memoryReport } from './report.ts';

const device: DeviceSpec = { name: 'spec', threads: 2, alignment: 64, workspaceBytes: (op) => (op.startsWith('matmul') ? 4_000_001 : 0) };

function run(layers: number, width: number, batch: { readonly microBatchSize: number; readonly accumulationSteps: number }): CompiledRun {
  const model = parseModelConfig({
    architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_size: width, intermediate_size: width * 3, num_hidden_layers: layers, num_attention_heads: width / 64,
    num_key_value_heads: width / 64, vocab_size: 32000, tie_word_embeddings: false, max_position_embeddings: 4096, rms_norm_eps: 1e-5, hidden_act: 'silu',
  }, 'test');
  return compile({ model, plan: { ...plainPlan({ rowLength: 256 }), batch: { rowsPerUpdate: batch.microBatchSize * batch.accumulationSteps, ...batch } }, device, purpose: 'train' });
}

/** Forward, then each layer's backward with the norm that is made again in its midst. */
const STEP = expect.arrayContaining(['forward', 'backward', 'recompute']) as string[];

describe('memoryPicture', () => {
  const { memory } = run(2, 128, { microBatchSize: 2, accumulationSteps: 2 });
  const picture = memoryPicture(memory);

  it('has every live range and every persistent value at the place that the programs use', () => {
    memory.programs.forEach((program, index) => {
      const { rectangles } = picture.programs[index]!;
      const places = new Set(rectangles.names.map((name, i) => `${picture.strings[name]} ${rectangles.offsets[i]} ${rectangles.births[i]}`));
      for (const value of program.graph.values) {
        const range = program.liveness.rangeOf.get(value.id);
        if (range === undefined) continue;
        const { name, birth } = program.liveness.ranges[range]!;
        expect(places).toContain(`${name} ${offsetOf(memory, program, value)} ${birth}`);
      }
      expect(rectangles.names).toHaveLength(program.liveness.ranges.length);
    });
    const { persistent } = picture;
    const persistentPlaces = persistent.names.map((name, i) => [picture.strings[name], persistent.offsets[i], picture.storageClasses[persistent.storages[i]!]]);
    expect(persistentPlaces).toEqual([...memory.persistent.values()].map(({ value, offset }) => [value.name, offset, value.storage]));
  });

  it('lets no two rectangles of a program overlap, and none lie in the persistent part or outside the arena', () => {
    for (const { rectangles: r } of picture.programs) {
      r.names.forEach((_, i) => {
        expect(r.offsets[i]).toBeGreaterThanOrEqual(picture.persistentBytes);
        expect(r.offsets[i]! + r.bytes[i]!).toBeLessThanOrEqual(picture.arenaBytes);
        const clash = r.names.findIndex((__, j) => j > i && r.births[i]! <= r.deaths[j]! && r.births[j]! <= r.deaths[i]!
          && r.offsets[i]! < r.offsets[j]! + r.bytes[j]! && r.offsets[j]! < r.offsets[i]! + r.bytes[i]!);
        expect(clash).toBe(-1);
      });
    }
  });

  it('counts at each position what its rectangles take up, and peaks where the report says', () => {
    const report = memoryReport(memory);
    picture.programs.forEach(({ liveBytes, rectangles: r, peakPosition, nodes, name }, index) => {
      expect(liveBytes).toHaveLength(nodes.length + 1);
      const at = (position: number): number => r.names.reduce((sum, _, i) =>
        sum + (r.births[i]! <= position && position <= r.deaths[i]! ? alignUp(r.bytes[i]!, picture.alignment) : 0), picture.persistentBytes);
      for (const position of [0, 7, peakPosition, nodes.length]) expect(liveBytes[position], `${name} at ${position}`).toBe(at(position));
      expect(Math.max(...liveBytes)).toBe(liveBytes[peakPosition]);
      expect(liveBytes[peakPosition]).toBe(report.programs[index]!.peakLiveBytes);
    });
  });

  it('divides the nodes of each program into phases', () => {
    for (const { phases, nodes } of picture.programs) {
      expect(phases.flatMap(({ from, to }) => Array.from({ length: to - from + 1 }, (_, i) => from + i))).toEqual(nodes.map((_, i) => i));
      phases.forEach(({ phase }, i) => expect(phase).not.toBe(phases[i - 1]?.phase));
    }
    expect(picture.programs.map(({ phases }) => phases.map(({ phase }) => phase))).toEqual([STEP, STEP, ['update'], ['forward']]);
    const [first] = picture.programs;
    expect(picture.strings[first!.nodes[0]!]).toBe(`${memory.programs[0]!.graph.nodes[0]!.scope}/${memory.programs[0]!.graph.nodes[0]!.op}`);
  });

  it('stays small for 80 layers of a large model', () => {
    const large = memoryPicture(run(80, 8192, { microBatchSize: 2, accumulationSteps: 4 }).memory);
    expect(large.persistent.names.length).toBeGreaterThan(80 * 9 * 4);
    expect(JSON.stringify(large).length).toBeLessThan(2.5e6);
    expect(JSON.parse(JSON.stringify(large))).toEqual(large);
  });
});
