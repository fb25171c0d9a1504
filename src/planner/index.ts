/** The part of fulltune that runs anywhere, browsers included: configs in, plans out. */

export { parseModelConfig, type ModelConfig } from '../models/model-config.ts';
export { memoryReport, type MemoryReport } from '../memory/report.ts';
export { compilePlan, planRun, type PlannedRun, type PlanRequest } from './plan.ts';
