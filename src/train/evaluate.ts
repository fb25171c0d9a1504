/** Mean loss per trained token over a dataset, with the same graph as training at its own shape. */

import type { Program } from '../devices/program.ts';
import type { MicroBatch } from '../data/batches.ts';
import { batchInputs } from './run-update.ts';
import type { TrainingState } from './training-state.ts';

export interface EvalResult {
  /** Mean per trained token, nats. */
  readonly loss: number;
  readonly perplexity: number;
  readonly tokens: number;
  readonly seconds: number;
}

/** Undefined when `signal` stopped it. */
export async function evaluateBatches(state: TrainingState, programs: ReadonlyMap<number, Program>, batches: Iterable<MicroBatch>, signal: AbortSignal): Promise<EvalResult | undefined> {
  const started = performance.now();
  let sum = 0;
  let tokens = 0;
  for (const batch of batches) {
    const program = programs.get(batch.rowLength);
    if (program === undefined) throw new RangeError(`no program was compiled for rows of ${batch.rowLength} tokens`);
    state.setInputs(program, { ...batchInputs(batch), lossWeight: 1 });
    const { completed } = await state.program(program).run({ signal });
    if (!completed) return undefined;
    for (const row of state.output(program, 'loss')) sum += row;
    tokens += batch.trainedTokens;
  }
  const loss = sum / tokens;
  return { loss, perplexity: Math.exp(loss), tokens, seconds: (performance.now() - started) / 1000 };
}
