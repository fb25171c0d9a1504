/** The public API. The command line uses nothing else. */

export { FulltuneError, type ErrorCode } from './base/errors.ts';
export { formatBytes, parseBytes } from './base/bytes.ts';
export { formatTable } from './base/table.ts';
export type { RunConfig, Settings } from './run/run-config.ts';
export type { TrainingPlan } from './run/training-plan.ts';
export type { CheckpointEvent, Choice, EndEvent, EvalEvent, MemorySummary, RunEvent, StartEvent, StepEvent, WarningEvent } from './run/events.ts';
export type { StorageClass } from './run/storage-class.ts';
export type { MemoryGroup, MemoryReport } from './memory/report.ts';
export type { DataStatistics } from './data/prepare.ts';
export type { ChatMessage } from './data/tokenizer.ts';
export type { ModelConfig } from './models/model-config.ts';
export { plan, type PlanResult } from './train/plan-run.ts';
export { resume, train, TrainingRun, type ResumeOptions, type TrainOptions } from './train/training-run.ts';
export type { RunResult } from './train/trainer.ts';
export { Model, type EvaluateOptions, type GenerateOptions, type LoadOptions, type ModelEvaluation } from './train/model.ts';
export { initModel, type InitOptions, type InitResult } from './train/init-model.ts';
export { inspectData, inspectModel, type DataInspection, type ModelInspection } from './train/inspect.ts';
export { doctor, type DoctorReport } from './train/doctor.ts';

import { Model, type LoadOptions } from './train/model.ts';

/** Opens a model folder (or an id in the local Hugging Face cache) for `generate` and `evaluate`. */
export function loadModel(path: string, options?: LoadOptions): Promise<Model> {
  return Model.load(path, options);
}
