/** The public API. The command line uses nothing else. What concerns PyTorch is loaded when it is asked for. */

export { FulltuneError, type ErrorCode } from './base/errors.ts';
export { formatBytes, parseBytes } from './base/bytes.ts';
export { formatTable } from './base/table.ts';
export type { RunConfig, Settings } from './run/run-config.ts';
export type { TrainingPlan } from './run/training-plan.ts';
export type { TorchPlan } from './run/torch-plan.ts';
export type { CheckpointEvent, Choice, EndEvent, EndReason, EvalEvent, HealthEvent, MemorySummary, RunEvent, StartEvent, StepEvent, WarningEvent } from './run/events.ts';
export type { StorageClass } from './run/storage-class.ts';
export type { MemoryGroup, MemoryReport } from './memory/report.ts';
export type { MemoryPicture, PhaseRange, ProgramPicture, Rectangles } from './memory/picture.ts';
export type { FrontierPoint } from './run/frontier.ts';
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
export type { Exported, ExportOptions } from './torch/export/export-run.ts';
export { readPlanSource, type PlanSource } from './torch/export/plan-source.ts';
export type { Imported, ImportOptions } from './torch/import/import-config.ts';
export { TRAINER_NAMES, type TrainerName } from './torch/export/trainer-names.ts';
export { chooseEngine, type EngineChoice } from './torch/choose-engine.ts';
export { torchDoctor } from './torch/doctor.ts';
export type { TorchPlanResult } from './torch/dry-run.ts';
export type { LaunchForm, PrintedLaunch, PrintOptions, ResumePrintOptions } from './torch/print-launch.ts';

import { planRun } from './planner/plan.ts';
import { parseConfig } from './run/config-schema.ts';
import type { RunConfig } from './run/run-config.ts';
import type { TorchPlan } from './run/torch-plan.ts';
import type { TrainingPlan } from './run/training-plan.ts';
import { chooseEngine, requireEmbedded } from './torch/choose-engine.ts';
import { Model, type LoadOptions } from './train/model.ts';
import { planOnly, type PlanConfig, type PlanOptions, type PlanResult } from './train/plan-run.ts';
import type { TorchPlanResult } from './torch/dry-run.ts';
import type { Exported, ExportOptions } from './torch/export/export-run.ts';
import type { Imported, ImportOptions } from './torch/import/import-config.ts';
import type { DevicePlanResult, PlanDeviceOptions } from './torch/plan-device.ts';
import type { TorchPrepareOptions } from './torch/prepare-torch-run.ts';
import type { PrintedLaunch, PrintOptions, ResumePrintOptions } from './torch/print-launch.ts';
import { resumeEmbedded, trainEmbedded, TrainingRun, type ResumeOptions, type TrainOptions } from './train/training-run.ts';

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

/** The plan of a run on PyTorch, with nothing written. */
export async function planOnTorch(config: RunConfig, options?: TorchPrepareOptions): Promise<TorchPlanResult> {
  return (await import('./torch/dry-run.ts')).planOnTorch(config, options);
}

/** Writes the folder of a run on PyTorch and gives the command, or the batch file, that starts it where the devices are. */
export async function prepareLaunch(config: RunConfig, options: PrintOptions): Promise<PrintedLaunch> {
  return (await import('./torch/print-launch.ts')).prepareLaunch(config, options);
}

/** The same for a run that goes on from a checkpoint. */
export async function prepareResumeLaunch(runDirectory: string, changes: Partial<RunConfig>, options: ResumePrintOptions): Promise<PrintedLaunch> {
  return (await import('./torch/print-launch.ts')).prepareResumeLaunch(runDirectory, changes, options);
}

/** The config of another trainer that does what a plan says, and what does not translate. */
export async function exportPlan(plan: TrainingPlan | TorchPlan, config: Partial<RunConfig>, options: ExportOptions): Promise<Exported> {
  return (await import('./torch/export/export-run.ts')).exportPlan(plan, config, options);
}

/** A config of ours from that of another trainer. */
export async function importConfig(file: string, options?: ImportOptions): Promise<Imported> {
  return (await import('./torch/import/import-config.ts')).importConfig(file, options);
}

/** Starts a new run at once, on the engine that the config names. A mistake in config, model or data ends it (`result` rejects) before anything is written. */
export function train(given: RunConfig, { plan, signal }: TrainOptions = {}): TrainingRun {
  return new TrainingRun(async (control) => {
    const notices: string[] = [];
    const config = parseConfig(given, 'train()', (notice) => notices.push(notice));
    const { engine, choices } = await chooseEngine(config, plan);
    return engine === 'torch'
      ? (await import('./torch/torch-run.ts')).trainOnTorch(config, { choices, notices, ...(plan === undefined ? {} : { plan: plan as TorchPlan }) }, control)
      : trainEmbedded(config, planRun, { choices, notices, ...(plan === undefined ? {} : { plan: plan as TrainingPlan }) }, control);
  }, signal);
}

/** Goes on with a run from its newest checkpoint on the engine that it began on; the embedded one bit for bit as if it had not been interrupted. */
export function resume(runDirectory: string, changes: Partial<RunConfig> = {}, { signal, ...options }: ResumeOptions = {}): TrainingRun {
  return new TrainingRun(async (control) => {
    const { isTorchRun, resumeOnTorch } = await import('./torch/torch-run.ts');
    if (isTorchRun(runDirectory)) return resumeOnTorch(runDirectory, changes, options, control);
    requireEmbedded(changes);
    return resumeEmbedded(runDirectory, planRun, changes, options, control);
  }, signal);
}

/** Opens a model folder (or an id in the local Hugging Face cache) for `generate` and `evaluate`. */
export function loadModel(path: string, options?: LoadOptions): Promise<Model> {
  return new Promise((resolve) => resolve(Model.load(path, options)));
}
