/**
 * One update: its micro-batches through the compiled programs, loss and gradient norm read back, and only if both are finite the
 * parameters changed.
 */

import type { CompiledRun } from '../compile/compile.ts';
import type { CommittedProgram } from '../compile/lower.ts';
import type { MicroBatch, UpdateBatch } from '../data/batches.ts';
import type { Program } from '../devices/program.ts';
import type { InputValue, TrainingState } from './training-state.ts';

export interface UpdateScalars {
  readonly learningRate: number;
  /** 1 in the first update. */
  readonly step: number;
  /** Multiplies the loss where backward starts; for programs that ask for it. */
  readonly lossScale?: number;
}

/** A program as it was run, with its inputs: enough to run it again. */
export interface Submission {
  readonly program: Program;
  readonly inputs: Readonly<Record<string, InputValue>>;
}

/** What else an update tells of itself. */
export interface UpdateHealth {
  /** √(Σ error² / Σ value²) of quantised first moments; absent where none are. */
  readonly quantisationError?: number;
}

export type UpdateResult =
  /** Parameters and state are changed. `loss` is the mean per trained token, nats; `gradientNorm` is before clipping. */
  | { readonly kind: 'done'; readonly loss: number; readonly gradientNorm: number; readonly health: UpdateHealth }
  /** Nothing is changed: the signal came first. */
  | { readonly kind: 'stopped' }
  /**
   * Loss or gradients are infinite or NaN. Nothing is changed, unless `applied`: an optimizer in backward without clipping knows the norm only
   * when the parameters have changed.
   */
  | {
    readonly kind: 'not-finite'; readonly loss: number; readonly gradientNorm: number; readonly applied: boolean; readonly submissions: readonly Submission[];
    /** What may help here besides the usual. */
    readonly hint?: string;
  };

export async function runUpdate(state: TrainingState, run: CompiledRun, update: UpdateBatch, scalars: UpdateScalars, signal: AbortSignal): Promise<UpdateResult> {
  const lossWeight = update.trainedTokens === 0 ? 0 : 1 / update.trainedTokens;
  const submissions: Submission[] = [];
  let loss = 0;

  const submit = async (program: Program, batch: MicroBatch | undefined): Promise<boolean> => {
    const inputs = { ...(batch === undefined ? {} : batchInputs(batch)), lossWeight, ...scalars };
    submissions.push({ program, inputs });
    state.setInputs(program, inputs);
    const { completed } = await state.program(program).run({ signal });
    // Row losses are added in row order, in f64: the same sum however the rows were cut into micro-batches.
    if (completed && program.outputs['loss'] !== undefined) for (const row of state.output(program, 'loss')) loss += row;
    return completed;
  };
  const finish = async ({ compute, commit, lateOutputs }: CommittedProgram, batch: MicroBatch | undefined): Promise<UpdateResult> => {
    if (!(await submit(compute, batch))) return { kind: 'stopped' };
    const isLate = lateOutputs.includes('gradientNorm');
    const norm = (): number => state.output(compute, 'gradientNorm')[0]!;
    const known = isLate ? 0 : norm();
    if (!Number.isFinite(loss) || !Number.isFinite(known)) return { kind: 'not-finite', loss, gradientNorm: isLate ? NaN : known, applied: false, submissions };
    await state.program(commit).run();
    const gradientNorm = isLate ? norm() : known;
    return Number.isFinite(gradientNorm) ? { kind: 'done', loss, gradientNorm, health: healthOf(state, compute) } : { kind: 'not-finite', loss, gradientNorm, applied: true, submissions };
  };

  const { steps } = run;
  switch (steps.kind) {
    case 'none':
      throw new RangeError('this run was compiled to evaluate only');
    case 'fused': {
      const [batch, ...others] = update.microBatches;
      if (batch === undefined || others.length > 0) throw new RangeError(`a fused step takes one micro-batch, not ${update.microBatches.length}`);
      return finish(steps.step, batch);
    }
    case 'accumulating': {
      for (const [index, batch] of update.microBatches.entries()) {
        const programs = steps.micro.get(batch.rowLength);
        if (programs === undefined) throw new RangeError(`no program was compiled for rows of ${batch.rowLength} tokens`);
        if (!(await submit(index === 0 ? programs.first : programs.next, batch))) return { kind: 'stopped' };
      }
      return finish(steps.update, undefined);
    }
    default:
      return steps satisfies never;
  }
}

function healthOf(state: TrainingState, program: Program): UpdateHealth {
  if (program.outputs['quantisation'] === undefined) return {};
  const [error = 0, value = 0] = state.output(program, 'quantisation');
  return { quantisationError: value === 0 ? 0 : Math.sqrt(error / value) };
}

/** The runtime inputs of a forward pass. */
export function batchInputs(batch: MicroBatch): Readonly<Record<'ids' | 'labels' | 'positions' | 'documentStart', Int32Array>> {
  const { ids, labels, positions, documentStart } = batch;
  return { ids, labels, positions, documentStart };
}
