/** One update: its micro-batches through the compiled programs, then loss and gradient norm read back. */

import type { CompiledRun } from '../compile/compile.ts';
import type { MicroBatch, UpdateBatch } from '../data/batches.ts';
import type { Program } from '../devices/program.ts';
import type { TrainingState } from './training-state.ts';

export interface UpdateScalars {
  readonly learningRate: number;
  /** 1 in the first update. */
  readonly step: number;
}

export interface UpdateResult {
  /** Mean per trained token, nats. */
  readonly loss: number;
  readonly gradientNorm: number;
}

/** Runs the update; undefined when `signal` stopped it before anything was changed. */
export async function runUpdate(state: TrainingState, run: CompiledRun, update: UpdateBatch, scalars: UpdateScalars, signal: AbortSignal): Promise<UpdateResult | undefined> {
  const lossWeight = update.trainedTokens === 0 ? 0 : 1 / update.trainedTokens;
  let loss = 0;

  const submit = async (program: Program, batch: MicroBatch | undefined): Promise<boolean> => {
    state.setInputs(program, { ...(batch === undefined ? {} : batchInputs(batch)), lossWeight, ...scalars });
    const { completed } = await state.program(program).run({ signal });
    // Row losses are added in row order, in f64: the same sum however the rows were cut into micro-batches.
    if (completed && program.outputs['loss'] !== undefined) for (const row of state.output(program, 'loss')) loss += row;
    return completed;
  };

  const { steps } = run;
  switch (steps.kind) {
    case 'none':
      throw new RangeError('this run was compiled to evaluate only');
    case 'fused': {
      const [batch, ...others] = update.microBatches;
      if (batch === undefined || others.length > 0) throw new RangeError(`a fused step takes one micro-batch, not ${update.microBatches.length}`);
      if (!(await submit(steps.step, batch))) return undefined;
      return { loss, gradientNorm: state.output(steps.step, 'gradientNorm')[0]! };
    }
    case 'accumulating': {
      for (const [index, batch] of update.microBatches.entries()) {
        const programs = steps.micro.get(batch.rowLength);
        if (programs === undefined) throw new RangeError(`no program was compiled for rows of ${batch.rowLength} tokens`);
        if (!(await submit(index === 0 ? programs.first : programs.next, batch))) return undefined;
      }
      if (!(await submit(steps.update, undefined))) return undefined;
      return { loss, gradientNorm: state.output(steps.update, 'gradientNorm')[0]! };
    }
    default:
      return steps satisfies never;
  }
}

/** The runtime inputs of a forward pass. */
export function batchInputs(batch: MicroBatch): Readonly<Record<'ids' | 'labels' | 'positions' | 'documentStart', Int32Array>> {
  const { ids, labels, positions, documentStart } = batch;
  return { ids, labels, positions, documentStart };
}
