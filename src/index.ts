/** The public API. The command line uses nothing else. */

export { FulltuneError, type ErrorCode } from './base/errors.ts';
export { formatBytes, parseBytes } from './base/bytes.ts';
export { formatTable } from './base/table.ts';
export type { RunConfig, Settings } from './run/run-config.ts';
export type { TrainingPlan } from './run/training-plan.ts';
export type { CheckpointEvent, Choice, EndEvent, EndReason, EvalEvent, HealthEvent, MemorySummary, RunEvent, StartEvent, StepEvent, WarningEvent } from './run/events.ts';
export type { StorageClass } from './run/storage-class.ts';
export type { MemoryGroup, MemoryReport } from './memory/report.ts';
export type { MemoryPicture, PhaseRange, ProgramPicture, Rectangles } from './memory/picture.ts';
export type { FrontierPoint } from './run/frontier.ts';
export type { TorchPlan } from './run/torch-plan.ts';
export type { DevicePlanResult, PlanDeviceOptions } from './torch/plan-device.ts';
export type { DataStatistics } from './data/prepare.ts';
export type { ChatMessage } from './data/source-document.ts';
export type { ModelConfig } from './models/model-config.ts';
export type { PlanConfig, PlanOptions, PlanResult } from './train/plan-run.ts';
export type { ResumeOptions, TrainingRun, TrainOptions } from './train/training-run.ts';
export type { RunResult } from './train/trainer.ts';
export type { Model, EvaluateOptions, GenerateOptions, LoadOptions, ModelEvaluation } from './train/model.ts';
export { initModel, type InitOptions, type InitResult } from './train/init-model.ts';
export { inspectData, inspectModel, type DataInspection, type ModelInspection } from './train/inspect.ts';
export { doctor, type DoctorReport } from './train/doctor.ts';
export { exportPlan, type Exported, type ExportOptions } from './torch/export/export-run.ts';
export { readPlanSource, type PlanSource } from './torch/export/plan-source.ts';
export { importConfig, type Imported, type ImportOptions } from './torch/import/import-config.ts';
export { TRAINER_NAMES, type TrainerName } from './torch/export/trainers.ts';

import { planRun } from './planner/plan.ts';
import type { RunConfig } from './run/run-config.ts';
import { Model, type LoadOptions } from './train/model.ts';
import { planOnly, type PlanConfig, type PlanOptions, type PlanResult } from './train/plan-run.ts';
import type { DevicePlanResult, PlanDeviceOptions } from './torch/plan-device.ts';
import { resumeTraining, startTraining, type ResumeOptions, type TrainingRun, type TrainOptions } from './train/training-run.ts';

/** Whether and how a run fits, with nothing written and no memory taken. Not fitting is a value, not a throw. */
export function plan(config: PlanConfig, options?: PlanOptions): Promise<PlanResult> {
  return planOnly(config, planRun, options);
}

/**
 * Whether and how a run on PyTorch would fit devices that need not be there: `rtx-4090`, `8xH100-80GB`, `4x80GiB@990TFLOPS`. Memory and time are
 * estimates with an error bar, unlike the plan of the embedded engine.
 */
export async function planForDevice(config: PlanConfig, device: string, options?: PlanDeviceOptions): Promise<DevicePlanResult> {
  const { planDevice } = await import('./torch/plan-device.ts');
  return planDevice(config, device, options);
}

/** Starts a new run at once. A mistake in config, model or data ends it (`result` rejects) before anything is written. */
export function train(config: RunConfig, options?: TrainOptions): TrainingRun {
  return startTraining(config, planRun, options);
}

/** Goes on with a run from its newest checkpoint, bit for bit as if it had not been interrupted. */
export function resume(runDirectory: string, changes?: Partial<RunConfig>, options?: ResumeOptions): TrainingRun {
  return resumeTraining(runDirectory, planRun, changes, options);
}

/** Opens a model folder (or an id in the local Hugging Face cache) for `generate` and `evaluate`. */
export function loadModel(path: string, options?: LoadOptions): Promise<Model> {
  return new Promise((resolve) => resolve(Model.load(path, options)));
}
