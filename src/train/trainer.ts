/**
 * A training run as a story: load, then per step draw the rows of an update, run it, report, evaluate and save when due; at the end the
 * finished model. No branch here belongs to a technique.
 */

import { FulltuneError } from '../base/errors.ts';
import { scalesLoss } from '../compile/update.ts';
import { BatchSource, evaluationBatches } from '../data/batches.ts';
import type { EndReason, RunEvent, StepEvent } from '../run/events.ts';
import { afterEvaluation, shouldStopEarly } from './best-model.ts';
import { peakResidentBytes } from './devices.ts';
import { evaluateBatches } from './evaluate.ts';
import { findNonFinite } from './find-non-finite.ts';
import { healthMeter } from './health.ts';
import { continueSchedule, learningRateAt, newSchedule, schedulePosition } from './learning-rate.ts';
import { lossScaling } from './loss-scale.ts';
import { suggestedMemoryBytes, watchMemory } from './memory-watch.ts';
import type { PreparedRun } from './prepare-run.ts';
import type { RunFiles } from './run-files.ts';
import { runUpdate, type UpdateResult } from './run-update.ts';
import { isDue, runLength, warmupSteps } from './schedule.ts';
import { startEvent } from './start-event.ts';
import { Throughput, trainingFlopsPerToken } from './throughput.ts';
import { TrainingState } from './training-state.ts';

export interface RunResult {
  readonly reason: EndReason;
  readonly runDirectory: string;
  /** The finished model; null when interrupted, by whatever. */
  readonly modelPath: string | null;
  readonly step: number;
  readonly lastLoss: number | null;
  /** Of the last evaluation. */
  readonly evalLoss: number | null;
  /** The step with the lowest evaluation loss. */
  readonly bestStep: number | null;
  /** On PyTorch per rank; null where no planner has estimated it. */
  readonly plannedBytes: number | null;
  /** The most that the process ever held, as the operating system counts it. */
  readonly peakResidentBytes: number;
  /** As planned; null when the planner did not know this machine. */
  readonly predictedStepMs: number | null;
  /** The median of the steps after the first two; null without any. */
  readonly measuredStepMs: number | null;
  /** After memory pressure: what a run on this machine may hold now. */
  readonly suggestedMemoryBytes: number | null;
  readonly seconds: number;
}

/** How the outside steers a run that is under way. */
export interface RunControl {
  /** Stops at the next point where nothing is half done, and saves. */
  readonly signal: AbortSignal;
  emit(event: RunEvent): void;
  /** Checkpoints that were asked for since the last step. */
  takeCheckpointRequests(): readonly ((path: string) => void)[];
}

/** Runs to the end, or to the interruption. `files` is where it starts from and what it leaves behind. */
export async function trainRun(prepared: PreparedRun, files: RunFiles, control: RunControl): Promise<RunResult> {
  const started = performance.now();
  const { settings, data, device, planned } = prepared;
  const { compiled, plan, report } = planned;
  const state = await TrainingState.create(device, compiled.memory, compiled.constants, { directory: files.directory });
  const memory = watchMemory({
    leftBytes: prepared.freeBytes - report.forecastBytes,
    onPressure: ({ reason }) => control.emit({ kind: 'warning', message: `memory is running out: ${reason}; the run stops with a checkpoint` }),
  });
  const signal = AbortSignal.any([control.signal, memory.signal]);
  try {
    const batches = new BatchSource({ file: data.train, ...plan.packing, ...plan.batch, seed: settings.seed, shuffle: settings.shuffle });
    const updatesInEpoch = (epoch: number): number => Math.ceil(batches.rowsInEpoch(epoch) / plan.batch.rowsPerUpdate);
    const start = await files.restore(state);
    if (start.cursor !== undefined) batches.seek(start.cursor);
    const { totalSteps } = runLength(settings, updatesInEpoch);
    if (start.step >= totalSteps) requireStepsLeft(start.step, totalSteps, files);
    const { state: schedule, notice } = continueSchedule(start.schedule ?? newSchedule(totalSteps), start.step, totalSteps);
    const curve = {
      schedule: settings.lr_scheduler_type, learningRate: settings.learning_rate, warmupSteps: warmupSteps(settings, schedule.horizon), totalSteps: schedule.horizon,
    };
    const flopsPerToken = trainingFlopsPerToken(compiled, plan);
    const throughput = new Throughput();
    const scaling = lossScaling({ scales: scalesLoss(plan), state: start.lossScale });
    const health = healthMeter(state, prepared, start.step);
    let step = start.step;
    let evaluations = start.evaluations;
    let lastLoss: number | null = null;
    let evalLoss: number | null = null;
    let interrupted = false;
    let stoppedEarly = false;
    control.emit(startEvent(prepared, {
      runDirectory: files.directory, totalSteps, startStep: step, rowsPerEpoch: batches.rowsInEpoch(0), notices: notice === undefined ? [] : [notice],
    }));
    const peakFlops = await device.measurePeak();
    const save = async (): Promise<string> => {
      const event = await files.saveCheckpoint(state, { step, cursor: batches.cursor(), schedule, evaluations, lossScale: scaling.state });
      control.emit(event);
      return event.path;
    };

    while (step < totalSteps && !interrupted && !stoppedEarly) {
      const before = batches.cursor();
      const update = batches.next();
      const stepStarted = performance.now();
      const learningRate = learningRateAt(schedulePosition(schedule, step), curve);
      const scalars = { learningRate, ...scaling.scalars(step + 1) };
      const result = scaling.judge(await runUpdate(state, compiled, update, scalars, signal));
      if (result.kind === 'not-finite') throw await notFinite(state, step + 1, result, files);
      if (result.kind === 'stopped') {
        batches.seek(before);
        interrupted = true;
        break;
      }
      step++;
      lastLoss = result.loss;
      const stepMs = performance.now() - stepStarted;
      const event: StepEvent = {
        kind: 'step', step, epoch: update.epoch, loss: result.loss, gradientNorm: result.gradientNorm, learningRate,
        tokens: update.tokens, trainedTokens: update.trainedTokens, stepMs,
        tokensPerSecond: (update.tokens / stepMs) * 1000,
        mfu: (flopsPerToken * update.tokens) / (stepMs / 1000) / peakFlops,
        residentBytes: process.memoryUsage.rss(),
        etaSeconds: (throughput.record(stepMs) * (totalSteps - step)) / 1000,
        ...(scalars.lossScale === undefined ? {} : { lossScale: scalars.lossScale }),
        ...(result.kind === 'skipped' ? { skipped: true } : {}),
      };
      files.record(event);
      if (step % settings.logging_steps === 0 || step === totalSteps || event.skipped) control.emit(event);
      for (const found of health.afterStep({ ...event, ...('health' in result ? result.health : {}) })) control.emit(found);

      const position = { step, totalSteps, endsEpoch: update.endsEpoch, updatesInEpoch: updatesInEpoch(before.epoch) };
      let isBest = false;
      if (data.evaluation !== undefined && isDue(settings.eval_steps, position)) {
        const evaluation = await evaluateBatches(state, compiled.evaluate, evaluationBatches(data.evaluation, { ...plan.packing, ...plan.batch }), signal);
        if (evaluation !== undefined) {
          evalLoss = evaluation.loss;
          evaluations = afterEvaluation(evaluations, step, evaluation.loss);
          isBest = evaluations.best?.step === step;
          stoppedEarly = step < totalSteps && shouldStopEarly(evaluations, settings.early_stopping_patience);
          control.emit({ kind: 'eval', step, loss: evaluation.loss, perplexity: evaluation.perplexity, tokens: evaluation.tokens, evalMs: evaluation.seconds * 1000 });
        }
      }
      interrupted = signal.aborted && step < totalSteps;
      const requests = control.takeCheckpointRequests();
      const keepsBest = isBest && settings.load_best_model_at_end;
      if (requests.length > 0 || keepsBest || stoppedEarly || interrupted || isDue(settings.save_steps, position)) {
        const path = await save();
        for (const resolve of requests) resolve(path);
      }
    }
    const pressure = interrupted && !control.signal.aborted ? memory.pressure() : undefined;
    if (interrupted && files.savedStep !== step) await save();
    if (stoppedEarly) {
      const { best, without } = evaluations;
      control.emit({ kind: 'warning', message: `stopped early at step ${step}: ${without} evaluations without a loss below ${best!.loss.toPrecision(5)} of step ${best!.step}` });
    }

    let modelPath: string | null = null;
    let modelStep: number | null = null;
    if (!interrupted) {
      const best = settings.load_best_model_at_end ? evaluations.best?.step : undefined;
      if (best !== undefined && best !== step) await files.restoreWeights(state, best);
      modelPath = await files.saveModel(state);
      modelStep = best ?? step;
    }
    const result: RunResult = {
      reason: !interrupted ? 'finished' : pressure === undefined ? 'interrupted' : 'memory-pressure',
      runDirectory: files.directory, modelPath, step, lastLoss, evalLoss, bestStep: evaluations.best?.step ?? null,
      plannedBytes: report.forecastBytes,
      peakResidentBytes: peakResidentBytes(),
      predictedStepMs: planned.predictedStepMs,
      measuredStepMs: throughput.medianStepMs(),
      suggestedMemoryBytes: pressure === undefined ? null : suggestedMemoryBytes({ residentBytes: process.memoryUsage.rss(), freeBytes: pressure.freeBytes }),
      seconds: (performance.now() - started) / 1000,
    };
    const { reason, plannedBytes, peakResidentBytes: peak, predictedStepMs, measuredStepMs, suggestedMemoryBytes: suggested, seconds } = result;
    control.emit({
      kind: 'end', reason, step, modelPath, modelStep, plannedBytes, peakResidentBytes: peak, predictedStepMs, measuredStepMs, suggestedMemoryBytes: suggested, seconds,
    });
    return result;
  } finally {
    memory.stop();
    state.free();
  }
}

/** A resumed run that has nothing left to do: its own model may still have to be written, anything else is a mistake. */
function requireStepsLeft(step: number, totalSteps: number, files: RunFiles): void {
  if (step > totalSteps) {
    throw new FulltuneError('E_CONFIG', `the run has done ${step} steps already; ${totalSteps} are asked for`, { where: files.directory, remedy: `Use --max-steps ${step + 1} or more.` });
  }
  if (files.finished) {
    throw new FulltuneError('E_RUN', `the run is finished: all ${step} steps are done and model/ is written`, {
      where: files.directory, remedy: 'To train further, resume with a larger --max-steps or --num-train-epochs.',
    });
  }
}

async function notFinite(state: TrainingState, step: number, result: UpdateResult & { readonly kind: 'not-finite' }, files: RunFiles): Promise<FulltuneError> {
  const source = result.applied
    ? 'the parameters have changed with it already, since each was updated as its gradient came (with --max-grad-norm above 0 they would not have)'
    : await findNonFinite(state, result.submissions);
  const kept = files.savedStep === undefined ? 'No checkpoint was written yet.' : `The checkpoint of step ${files.savedStep} is intact.`;
  return new FulltuneError('E_NUMERICS', `step ${step}: the loss is ${result.loss}, the gradient norm ${result.gradientNorm}; ${source}`, {
    where: files.directory, remedy: `${result.hint === undefined ? '' : `${result.hint} `}Lower --learning-rate, add --warmup-steps, or look at the data of this step. ${kept}`,
  });
}
