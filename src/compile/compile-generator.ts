/** Programs of generate: `prefill` takes the prompt in chunks, `decode` one token at a time, both over one key/value cache. */

import type { DeviceSpec } from '../devices/device.ts';
import type { Program } from '../devices/program.ts';
import { GraphBuilder } from '../graph/builder.ts';
import type { Graph } from '../graph/graph.ts';
import { verifyGraph } from '../graph/verify.ts';
import { planMemory, type MemoryPlan } from '../memory/memory-plan.ts';
import { buildCached } from '../models/index.ts';
import type { ModelConfig } from '../models/model-config.ts';
import { shapeRules } from '../ops/index.ts';
import { constantsOf, optimise } from './compile.ts';
import { lower } from './lower.ts';
import { shareCommonSubexpressions } from './passes/common-subexpressions.ts';

export interface CompiledGenerator {
  readonly prefill: Program;
  readonly decode: Program;
  readonly memory: MemoryPlan;
  readonly constants: ReadonlyMap<string, readonly number[]>;
}

export interface GeneratorOptions {
  readonly model: ModelConfig;
  readonly device: DeviceSpec;
  /** Tokens that the cache holds: prompt and answer together. */
  readonly capacity: number;
  /** Prompt tokens per prefill run. */
  readonly chunk: number;
}

export function compileGenerator({ model, device, capacity, chunk }: GeneratorOptions): CompiledGenerator {
  const cached = (length: number): Graph => {
    const builder = new GraphBuilder(shapeRules);
    buildCached(builder, model, { length, capacity });
    const graph = optimise(shareCommonSubexpressions(builder.finish()));
    verifyGraph(graph, shapeRules);
    return graph;
  };
  const graphs = { prefill: cached(chunk), decode: cached(1) };
  const memory = planMemory(graphs, device);
  const [prefill, decode] = memory.programs.map((program) => lower(program, memory));
  return { prefill: prefill!, decode: decode!, memory, constants: constantsOf(Object.values(graphs)) };
}
