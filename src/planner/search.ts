/**
 * The fastest plan within a budget. Every combination of techniques unfolds into a path of candidates, from the fastest to the smallest; along it
 * memory falls and time rises, so the fastest that fits is found by halving. The combination that promises most goes first, and one whose best
 * hope is slower than what is found already is left alone. The candidates do not depend on the budget: more memory is never predicted slower.
 */

import type { TrainingPlan } from '../run/training-plan.ts';
import { TECHNIQUES } from '../techniques/index.ts';
import type { Candidate, Evaluator } from './evaluate.ts';
import type { Combination } from './space.ts';

/** Where the search stands in one combination's path. */
interface Branch {
  readonly path: readonly Candidate['plan'][];
  /** The fastest candidate; does not fit when there is anything to search. */
  readonly fastest: Candidate;
  /** Last index known not to fit, -1 when none is. */
  tooBig: number;
  /** First index known to fit. */
  fits: number | undefined;
  /** No candidate before `tooBig` + 1 fits: time can only be more than this. */
  leastMs: number;
}

export interface SearchResult {
  /** Undefined when nothing fits. */
  readonly best: Candidate | undefined;
  /** The smallest that was seen; when nothing fits, the smallest there is. */
  readonly smallest: Candidate;
}

/** The fastest candidate of at most `budgetBytes` among `list`, by time, then by memory. */
export function search(list: readonly Combination[], evaluator: Evaluator, budgetBytes: number): SearchResult {
  let best: Candidate | undefined;
  let smallest: Candidate | undefined;
  const seen = (candidate: Candidate): Candidate => {
    if (smallest === undefined || candidate.bytes < smallest.bytes) smallest = candidate;
    if (candidate.bytes <= budgetBytes && (best === undefined || isBetter(candidate, best))) best = candidate;
    return candidate;
  };
  const open = list.flatMap(({ plan }): Branch[] => {
    const path = evaluator.path(plan);
    const fastest = seen(evaluator.evaluate(path[0]!));
    if (fastest.bytes <= budgetBytes) return [];
    return path.length === 1 ? [] : [{ path, fastest, tooBig: 0, fits: undefined, leastMs: fastest.stepMs }];
  }).sort((a, b) => a.leastMs - b.leastMs);

  for (const branch of open) {
    const last = branch.path.length - 1;
    if (isHopeless(branch, best)) continue;
    if (seen(evaluator.evaluate(branch.path[last]!)).bytes > budgetBytes) continue;
    branch.fits = last;
    while (branch.fits - branch.tooBig > 1 && !isHopeless(branch, best)) {
      const middle = Math.floor((branch.tooBig + branch.fits) / 2);
      const candidate = seen(evaluator.evaluate(branch.path[middle]!));
      if (candidate.bytes <= budgetBytes) branch.fits = middle;
      else {
        branch.tooBig = middle;
        branch.leastMs = candidate.stepMs;
      }
    }
  }
  return { best, smallest: smallest! };
}

/**
 * The smallest candidate of a list, found by changing one technique at a time: a small part of the list is compiled. What it finds is a plan that
 * exists; a smaller one could be missed where two techniques save only together.
 */
export function smallestOf(list: readonly Combination[], evaluator: Evaluator): Candidate {
  const end = ({ plan }: Combination): Candidate => evaluator.evaluate(evaluator.path(plan).at(-1)!);
  let current = list[0]!;
  let best = end(current);
  for (let round = 0; round < 2; round++) {
    for (const technique of TECHNIQUES) {
      const others = list.filter(({ plan }) => TECHNIQUES.every((other) => (other === technique) !== other.same(plan, current.plan)));
      for (const other of others) {
        const candidate = end(other);
        if (candidate.bytes < best.bytes) [current, best] = [other, candidate];
      }
    }
  }
  // Two that exclude each other are changed together: the largest micro-batch goes with an optimizer in backward.
  for (const other of list.filter(({ plan }) => plan.update === 'in-backward' && agrees(plan, current.plan, ['batch', 'update']))) {
    const candidate = end(other);
    if (candidate.bytes < best.bytes) [current, best] = [other, candidate];
  }
  return best;
}

/** Whether two plans are the same but for these parts and what is proposed. */
function agrees(a: TrainingPlan, b: TrainingPlan, parts: readonly (keyof TrainingPlan)[]): boolean {
  const rest = (plan: TrainingPlan): string => JSON.stringify({ ...plan, recompute: undefined, ...Object.fromEntries(parts.map((part) => [part, undefined])) });
  return rest(a) === rest(b);
}

function isHopeless({ leastMs }: Branch, best: Candidate | undefined): boolean {
  return best !== undefined && leastMs >= best.stepMs;
}

/** Faster, or as fast and smaller. */
export function isBetter(a: Candidate, b: Candidate): boolean {
  return a.stepMs < b.stepMs || (a.stepMs === b.stepMs && a.bytes < b.bytes);
}
