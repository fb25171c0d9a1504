/**
 * A training run as a story: load, then per step draw the rows of an update, run it, report, evaluate and save when due; at the end the
 * finished model. No branch here belongs to a technique.
 */

import { FulltuneError } from '../base/errors.ts';
import { BatchSource, evaluationBatches } from '../data/batches.ts';
import type { RunEvent, StepEvent } from '../run/events.ts';
import { evaluateBatches } from './evaluate.ts';
import { learningRateAt, type ScheduleOptions } from './learning-rate.ts';
import { explainPlan, type PreparedRun } from './prepare-run.ts';
import type { RunFiles } from './run-files.ts';
import { runUpdate } from './run-update.ts';
import { isDue, runLength, warmupSteps } from './schedule.ts';
import { modelFlopsPerToken, Throughput } from './throughput.ts';
import { TrainingState } from './training-state.ts';

export interface RunResult {
  readonly reason: 'finished' | 'interrupted';
  readonly runDirectory: string;
  /** The finished model; null when interrupted. */
  readonly modelPath: string | null;
  readonly step: number;
  readonly lastLoss: number | null;
  readonly evalLoss: number | null;
  readonly plannedBytes: number;
  readonly peakResidentBytes: number;
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
  const peakFlops = await device.measurePeak();
  const state = await TrainingState.create(device, compiled.memory, compiled.constants);
  try {
    const batches = new BatchSource({ file: data.train, ...plan.packing, ...plan.batch, seed: settings.seed, shuffle: settings.shuffle });
    const start = await files.restore(state);
    if (start.cursor !== undefined) batches.seek(start.cursor);
    const { totalSteps } = runLength(settings, (epoch) => Math.ceil(batches.rowsInEpoch(epoch) / plan.batch.rowsPerUpdate));
    if (start.step >= totalSteps && files.finished) throw finishedAlready(files.directory, start.step);
    const schedule: ScheduleOptions = {
      schedule: settings.lr_scheduler_type, learningRate: settings.learning_rate, warmupSteps: warmupSteps(settings, totalSteps), totalSteps,
    };
    const flopsPerToken = trainingFlopsPerToken(prepared);
    const throughput = new Throughput();
    let step = start.step;
    let lastLoss: number | null = null;
    let evalLoss: number | null = null;
    let interrupted = false;
    control.emit(startEvent(prepared, files.directory, { totalSteps, startStep: step, rowsPerEpoch: batches.rowsInEpoch(0) }));

    while (step < totalSteps && !interrupted) {
      const cursorBefore = batches.cursor();
      const update = batches.next();
      const stepStarted = performance.now();
      const learningRate = learningRateAt(step, schedule);
      const result = await runUpdate(state, compiled, update, { learningRate, step: step + 1 }, control.signal);
      if (result === undefined) {
        batches.seek(cursorBefore);
        interrupted = true;
        break;
      }
      step++;
      const stepMs = performance.now() - stepStarted;
      lastLoss = result.loss;
      const event: StepEvent = {
        kind: 'step', step, epoch: update.epoch, loss: result.loss, gradientNorm: result.gradientNorm, learningRate,
        tokens: update.tokens, trainedTokens: update.trainedTokens, stepMs,
        tokensPerSecond: (update.tokens / stepMs) * 1000,
        mfu: (flopsPerToken * update.tokens) / (stepMs / 1000) / peakFlops,
        residentBytes: process.memoryUsage.rss(),
        etaSeconds: (throughput.record(stepMs) * (totalSteps - step)) / 1000,
      };
      requireFinite(event, files);
      if (step % settings.logging_steps === 0 || step === totalSteps) control.emit(event);
      files.record(event);

      const position = { step, totalSteps, endsEpoch: update.endsEpoch };
      if (data.evaluation !== undefined && isDue(settings.eval_steps, position)) {
        const result = await evaluateBatches(state, compiled.evaluate, evaluationBatches(data.evaluation, { ...plan.packing, ...plan.batch }), control.signal);
        if (result !== undefined) {
          evalLoss = result.loss;
          control.emit({ kind: 'eval', step, loss: result.loss, perplexity: result.perplexity, tokens: result.tokens, evalMs: result.seconds * 1000 });
        }
      }
      interrupted = control.signal.aborted && step < totalSteps;
      const requests = control.takeCheckpointRequests();
      if (requests.length > 0 || (isDue(settings.save_steps, position) && !interrupted)) {
        const event = await files.saveCheckpoint(state, { step, cursor: batches.cursor() });
        control.emit(event);
        for (const resolve of requests) resolve(event.path);
      }
    }

    if (interrupted && files.savedStep !== step) control.emit(await files.saveCheckpoint(state, { step, cursor: batches.cursor() }));
    const modelPath = interrupted ? null : await files.saveModel(state);
    const result: RunResult = {
      reason: interrupted ? 'interrupted' : 'finished',
      runDirectory: files.directory, modelPath, step, lastLoss, evalLoss,
      plannedBytes: report.forecastBytes,
      peakResidentBytes: process.resourceUsage().maxRSS * 1024,
      seconds: (performance.now() - started) / 1000,
    };
    control.emit({
      kind: 'end', reason: result.reason, step, modelPath,
      plannedBytes: result.plannedBytes, peakResidentBytes: result.peakResidentBytes, seconds: result.seconds,
    });
    return result;
  } finally {
    state.free();
  }
}

function finishedAlready(directory: string, step: number): FulltuneError {
  return new FulltuneError('E_RUN', `the run is finished: all ${step} steps are done and model/ is written`, {
    where: directory, remedy: 'To train further, resume with a larger --max-steps or --num-train-epochs.',
  });
}

/** Per token of the program that a step spends its time in. */
function trainingFlopsPerToken({ planned }: PreparedRun): number {
  const { compiled, plan } = planned;
  const { steps } = compiled;
  const length = plan.packing.rowLengths.at(-1)!;
  const tokens = plan.batch.microBatchSize * length;
  switch (steps.kind) {
    case 'none':
      return 0;
    case 'fused':
      return modelFlopsPerToken(steps.step, tokens);
    case 'accumulating':
      return modelFlopsPerToken(steps.micro.get(length)!.next, tokens);
    default:
      return steps satisfies never;
  }
}

function requireFinite({ loss, gradientNorm, step }: StepEvent, files: RunFiles): void {
  if (Number.isFinite(loss) && Number.isFinite(gradientNorm)) return;
  throw new FulltuneError('E_NUMERICS', `loss ${loss}, gradient norm ${gradientNorm} at step ${step}`, {
    where: files.directory,
    remedy: `Lower --learning-rate or add --warmup-steps. ${files.savedStep === undefined ? 'No checkpoint was written yet.' : `The checkpoint of step ${files.savedStep} is intact.`}`,
  });
}

interface StartFacts {
  readonly totalSteps: number;
  readonly startStep: number;
  readonly rowsPerEpoch: number;
}

function startEvent(prepared: PreparedRun, runDirectory: string, { totalSteps, startStep, rowsPerEpoch }: StartFacts): RunEvent {
  const { model, data, planned, device, choices, notices } = prepared;
  const { plan, report } = planned;
  const frozen = new Set(plan.frozen);
  const count = (names: (name: string) => boolean): number =>
    model.parameters.filter(({ name }) => names(name)).reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
  const { documents, tokens, trainedTokens, cut, split } = data.statistics;
  return {
    kind: 'start', runDirectory,
    model: { name: model.name, type: model.config.modelType, parameters: count(() => true), trained: count((name) => !frozen.has(name)) },
    data: { documents, tokens, trainedTokens, cut, split, rowsPerEpoch, rowLength: plan.packing.rowLengths.at(-1)! },
    batch: plan.batch,
    totalSteps, startStep,
    device: device.description,
    memory: {
      arenaBytes: report.arenaBytes, peakLiveBytes: report.peakLiveBytes, forecastBytes: report.forecastBytes,
      atPeak: Object.fromEntries(report.classes.map(({ storage, bytes }) => [storage, bytes])),
    },
    choices, notices: [...explainPlan(plan), ...notices], example: data.example,
  };
}
