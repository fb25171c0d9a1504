/** How much of the processors others had while something was measured: figures taken on a busy machine are those of a slower one. */

import { cpus } from 'node:os';

/** Milliseconds since the machine started, and of this process. */
export interface ProcessorTimes {
  readonly all: number;
  readonly idle: number;
  readonly own: number;
}

export function processorTimes(): ProcessorTimes {
  const { user, system } = process.cpuUsage();
  const times = cpus().map((cpu) => cpu.times);
  const idle = times.reduce((sum, each) => sum + each.idle, 0);
  return { all: times.reduce((sum, each) => sum + each.user + each.nice + each.sys + each.irq, idle), idle, own: (user + system) / 1000 };
}

/** Share of the processors' time between two moments that was neither idle nor this process's: 0 to 1. */
export function othersShare(before: ProcessorTimes, after: ProcessorTimes): number {
  const passed = (pick: (times: ProcessorTimes) => number): number => pick(after) - pick(before);
  const all = passed(({ all: each }) => each);
  if (all <= 0) return 0; // a system that does not tell
  return Math.min(1, Math.max(0, (all - passed(({ idle }) => idle) - passed(({ own }) => own)) / all));
}
