/** Speed of a run: tokens per second, model FLOPs utilisation and time left. The first steps are left out of the estimate. */

import type { CompiledRun } from '../compile/compile.ts';
import type { Program } from '../devices/program.ts';
import { opOf } from '../ops/index.ts';
import type { TrainingPlan } from '../run/training-plan.ts';

const WARMUP_STEPS = 2;
const WINDOW = 20;

/**
 * Model FLOPs per token of a [B,T] micro-step: products and attention of forward and backward, once each (6N and causal attention).
 * Recomputed work would not count.
 */
function modelFlopsPerToken(program: Program, tokens: number): number {
  const total = program.instructions.reduce((sum, { op, inputs, outputs, attrs, phase }) => {
    const rule = opOf(op);
    return phase === 'update' || rule.bound === 'memory' ? sum : sum + rule.flops(inputs, outputs, attrs);
  }, 0);
  return total / tokens;
}

/** Model FLOPs per token at the longest row length. */
export function trainingFlopsPerToken({ steps }: CompiledRun, plan: TrainingPlan): number {
  const length = plan.packing.rowLengths.at(-1)!;
  const tokens = plan.batch.microBatchSize * length;
  switch (steps.kind) {
    case 'none':
      return 0;
    case 'fused':
      return modelFlopsPerToken(steps.step.compute, tokens);
    case 'accumulating':
      return modelFlopsPerToken(steps.micro.get(length)!.next, tokens);
    default:
      return steps satisfies never;
  }
}

export class Throughput {
  private readonly recent: number[] = [];
  /** Every step after the first two. */
  private readonly steady: number[] = [];
  private seen = 0;

  /** Records a step; returns the median of the recent ones, which the time left is computed from. */
  record(stepMs: number): number {
    this.seen++;
    if (this.seen === WARMUP_STEPS + 1) this.recent.length = 0;
    this.recent.push(stepMs);
    if (this.seen > WARMUP_STEPS) this.steady.push(stepMs);
    if (this.recent.length > WINDOW) this.recent.shift();
    return median(this.recent);
  }

  /** The median of all steps after the first two; null without any. */
  medianStepMs(): number | null {
    return this.steady.length === 0 ? null : median(this.steady);
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}
