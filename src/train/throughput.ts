/** Speed of a run: tokens per second, model FLOPs utilisation and time left. The first steps are left out of the estimate. */

import { opOf } from '../ops/index.ts';
import type { Program } from '../devices/program.ts';

const WARMUP_STEPS = 2;
const WINDOW = 20;

/**
 * Model FLOPs per token of a [B,T] micro-step: products and attention of forward and backward, once each (6N and causal attention).
 * Recomputed work would not count.
 */
export function modelFlopsPerToken(program: Program, tokens: number): number {
  const total = program.instructions.reduce((sum, { op, inputs, outputs, attrs, phase }) => {
    const rule = opOf(op);
    return phase === 'update' || rule.bound === 'memory' ? sum : sum + rule.flops(inputs, outputs, attrs);
  }, 0);
  return total / tokens;
}

export class Throughput {
  private readonly recent: number[] = [];
  private seen = 0;

  /** Records a step; returns the median of the recent ones, which the time left is computed from. */
  record(stepMs: number): number {
    this.seen++;
    if (this.seen === WARMUP_STEPS + 1) this.recent.length = 0;
    this.recent.push(stepMs);
    if (this.recent.length > WINDOW) this.recent.shift();
    const sorted = this.recent.toSorted((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)]!;
  }
}
