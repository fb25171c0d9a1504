/** The part of fulltune that runs anywhere, browsers included: configs in, plans out. */

export { compilePlan, type PlannedRun, type PlanRequest } from '../compile/planned-run.ts';
export { cpuSpec } from '../devices/cpu/cpu-spec.ts';
export { memoryReport, type MemoryReport } from '../memory/report.ts';
export { parseModelConfig, type ModelConfig } from '../models/model-config.ts';
export { planRun } from './plan.ts';
