/** One small graph as a program over an arena of its own: what measuring a machine needs. */

import type { DeviceSpec } from '../devices/device.ts';
import type { Program } from '../devices/program.ts';
import type { Graph } from '../graph/graph.ts';
import { verifyGraph } from '../graph/verify.ts';
import { planMemory } from '../memory/memory-plan.ts';
import { shapeRules } from '../ops/index.ts';
import { lower } from './lower.ts';

export function compileProbe(graph: Graph, device: DeviceSpec): Program {
  verifyGraph(graph, shapeRules);
  const memory = planMemory({ probe: graph }, device);
  return lower(memory.programs[0]!, memory);
}
