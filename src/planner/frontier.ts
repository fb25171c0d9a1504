/**
 * The frontier of memory against time: plans for budgets from the smallest feasible to plenty. They treat all layers alike: between two of them that
 * differ by what all layers do lie those in which fewer layers do it.
 */

import type { PlanRequest } from '../compile/planned-run.ts';
import type { FrontierPoint } from '../run/frontier.ts';
import type { NumericsTier, TrainingPlan } from '../run/training-plan.ts';
import { TECHNIQUES } from '../techniques/index.ts';
import type { Candidate } from './candidate.ts';
import type { Evaluator } from './evaluate.ts';
import type { Found } from './path.ts';
import { searchEstimates, smallestOf } from './search.ts';
import type { Combination } from './space.ts';

/** Budgets that are tried for plans which keep the numbers, and for each way of changing them. */
const POINTS = { kept: 10, changed: 4 };

/** Other numbers for less memory than this saves are worth nobody's while. */
const WORTH_CHANGING = 0.98;

export interface FrontierContext {
  readonly evaluator: Evaluator;
  readonly request: Pick<PlanRequest, 'memoryBytes' | 'maxLength'>;
  readonly groups: readonly (readonly Combination[])[];
}

/** Most memory first. A plan that changes the numbers is there only where it needs less memory than all that do not. */
export function frontierOf(chosen: Candidate, { evaluator, request, groups }: FrontierContext): readonly FrontierPoint[] {
  const found = new Map<string, Candidate>([[JSON.stringify(chosen.plan), chosen]]);
  const add = (point: Found | undefined): void => {
    if (point === undefined) return;
    const key = JSON.stringify(point.candidate.plan);
    if (!found.has(key)) found.set(key, point.candidate);
  };
  let floor = Infinity;
  for (const group of groups) {
    const smallest = smallestOf(group, evaluator).candidate;
    if (smallest.bytes > floor * WORTH_CHANGING) continue;
    const largest = searchEstimates(group, evaluator, Infinity, 'landmarks')?.candidate;
    if (largest === undefined) continue;
    const top = Math.min(largest.bytes, floor - 1);
    const ratio = Math.min(1, smallest.bytes / top);
    const points = group === groups[0] ? POINTS.kept : POINTS.changed;
    for (let i = 0; i < points - 1; i++) add(searchEstimates(group, evaluator, Math.floor(top * ratio ** (i / (points - 1))), 'landmarks'));
    add(searchEstimates(group, evaluator, smallest.bytes, 'landmarks'));
    floor = smallest.bytes;
  }
  const sorted = [...found.values()].sort((a, b) => b.bytes - a.bytes);
  const kept = sorted.filter((candidate) => candidate === chosen || !sorted.some((other) => beats(other, candidate)));
  const changedBy = new Map(groups.flatMap((group) => group.map(({ plan, changed }) => [withoutProposals(plan), changed] as const)));
  return kept.map((candidate): FrontierPoint => {
    const { plan, bytes, stepMs } = candidate;
    const tokens = plan.batch.rowsPerUpdate * request.maxLength;
    return {
      forecastBytes: bytes, stepMs, tokensPerSecond: tokens / (stepMs / 1000),
      numerics: tierOf(plan, changedBy.get(withoutProposals(plan)) ?? []),
      summary: summaryOf(plan), changes: differences(chosen.plan, plan), chosen: candidate === chosen,
    };
  });
}

/** Smaller and faster, and no worse to the numbers: those of the first group are as the settings say. */
function beats(a: Candidate, b: Candidate): boolean {
  return a !== b && a.bytes <= b.bytes && a.stepMs <= b.stepMs && (a.bytes < b.bytes || a.stepMs < b.stepMs);
}

function withoutProposals(plan: TrainingPlan): string {
  return JSON.stringify(TECHNIQUES.filter(({ proposes }) => !proposes).map((technique) => technique.explain(plan).value));
}

function tierOf(plan: TrainingPlan, changed: readonly string[]): NumericsTier {
  if (changed.length > 0) return 'changed';
  return TECHNIQUES.some((technique) => technique.stage === 'batch' && technique.name !== 'packing' && technique.numerics(plan) === 'reordered') ? 'reordered' : 'bitwise';
}

function summaryOf(plan: TrainingPlan): string {
  return TECHNIQUES.filter(({ name }) => name !== 'packing').map((technique) => technique.brief(plan)).filter((text) => text !== '').join(', ');
}

function differences(before: TrainingPlan, after: TrainingPlan): readonly string[] {
  return TECHNIQUES.filter((technique) => !technique.same(before, after)).map((technique) => `${technique.name}: ${technique.explain(after).value}`);
}
