/** The memory budget of a run, and what is said when no plan fits it. */

import { formatBytes, GIB, MIB, parseBytes } from '../base/bytes.ts';
import { FulltuneError } from '../base/errors.ts';
import type { PlannedRun } from '../compile/planned-run.ts';
import type { Settings } from '../run/run-config.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import { TECHNIQUES } from '../techniques/index.ts';

/** Share of the free memory that a run may plan for: the rest is for what else the machine does. */
const MEMORY_SHARE = 0.8;

/** What the process may hold: as the settings say, else a share of what is free. */
export function budgetOf({ memory }: Pick<Settings, 'memory'>, freeBytes: number): number {
  return memory === undefined ? Math.floor(freeBytes * MEMORY_SHARE) : parseBytes(memory, 'memory');
}

/** Refuses a plan that does not fit, before anything is written. */
export function requireFit<T extends { readonly planned: PlannedRun; readonly settings: Settings; readonly freeBytes: number }>(prepared: T): T {
  const { planned, settings, freeBytes } = prepared;
  if (planned.fits) return prepared;
  const { report } = planned;
  const budget = budgetOf(settings, freeBytes);
  const limit = settings.memory === undefined ? `${formatBytes(budget)}, ${MEMORY_SHARE * 100} % of the ${formatBytes(freeBytes)} that are free` : formatBytes(budget);
  throw new FulltuneError('E_BUDGET', `no plan fits ${limit}. The smallest needs ${formatBytes(report.forecastBytes)} (${briefPlan(planned.plan)})`, {
    where: `the peak is at ${report.peak.node}`, remedy: remedyLines(planned, freeBytes).join('\n  '),
  });
}

/** What to do about a plan that does not fit: changes of settings with what they need, then a larger budget where the machine has it. */
export function remedyLines(planned: PlannedRun, freeBytes: number): readonly string[] {
  const needed = planned.report.forecastBytes;
  const held = planned.report.classes.filter(({ storage }) => storage === 'parameter' || storage === 'optimizer-state' || storage === 'gradient');
  const perParameter = held.reduce((sum, { bytes }) => sum + bytes, 0);
  const changes = planned.remedies().filter(({ bytes }) => bytes < needed).map(({ change, bytes }) => `${change} would need ${formatBytes(bytes)}.`);
  return [
    `Parameters${held.length > 1 ? ' with gradients and optimizer state' : ''} alone take ${formatBytes(perParameter)} of it.`,
    ...(needed <= freeBytes ? [`--memory ${roundUpBytes(needed)} would do: ${formatBytes(freeBytes)} are free.`] : []),
    ...changes,
  ];
}

/** The next tenth of a GiB (or whole MiB below one), as `--memory` takes it. */
function roundUpBytes(bytes: number): string {
  return bytes >= GIB ? `${(Math.ceil((bytes / GIB) * 10) / 10).toFixed(1)}GiB` : `${Math.ceil(bytes / MIB)}MiB`;
}

/** The techniques of a plan in one line: `micro-batch 1 × 8, recompute of 7 kinds × 30`. */
export function briefPlan(plan: TrainingPlan): string {
  return [...TECHNIQUES.map((technique) => technique.brief(plan)).filter((text) => text !== ''), `length ${plan.packing.rowLengths.at(-1)}`].join(', ');
}
