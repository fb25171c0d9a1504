/**
 * The plan of a run: the fastest combination of techniques that fits the memory. Those that keep the numbers come first; a technique that changes
 * them is taken only where it is allowed and nothing else fits. Knows no file and no device, so it also runs in a browser.
 */

import { compilePlan, type PlannedRun, type PlanRequest, type Remedy } from '../compile/planned-run.ts';
import { ALLOWABLE, type Settings } from '../run/run-config.ts';
import type { Candidate } from './candidate.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import { Evaluator } from './evaluate.ts';
import { reasonsFor } from './explain.ts';
import { frontierOf } from './frontier.ts';
import type { Found, Path } from './path.ts';
import { narrow, search, smallestOf } from './search.ts';
import { combinations, type Combination } from './space.ts';

/** What `smallestOf` finds may be larger than the smallest by no more than this, as far as anybody has seen. */
const HOPELESS = 1.15;

/** The fastest plan of at most `memoryBytes`; the smallest one there is, marked as not fitting, when there is none. */
export function planRun(request: PlanRequest): PlannedRun {
  const evaluator = new Evaluator(request);
  const groups = byChanges(combinations(request));
  const { planned, chosen } = chooseWithin(request, evaluator, groups);
  return {
    ...planned,
    reasons: reasonsFor(chosen, { evaluator, request, planned }),
    remedies: () => remediesFor(request),
    frontier: () => frontierOf(chosen, { evaluator, request, groups }),
  };
}

/** What would make it smaller, besides a larger budget, and how small. */
function remediesFor(request: PlanRequest): readonly Remedy[] {
  const { settings, maxLength } = request;
  const least = (changes: Partial<PlanRequest>): number => {
    const changed = { ...request, ...changes };
    const evaluator = new Evaluator(changed);
    const ends = byChanges(combinations(changed)).map((group) => smallestOf(group, evaluator));
    const { path, index } = ends.reduce(smaller);
    return path.evaluate(index).bytes;
  };
  const shorter = Math.max(64, Math.floor(maxLength / 128) * 64);
  const allowed: Settings = { ...settings, allow: [...ALLOWABLE] };
  return [
    ...(settings.allow.length < ALLOWABLE.length ? [{ change: '--allow all', bytes: least({ settings: allowed }) }] : []),
    ...(shorter < maxLength ? [{ change: `--max-length ${shorter}`, bytes: least({ maxLength: shorter, bucketLengths: [shorter] }) }] : []),
    ...(settings.allow.length < ALLOWABLE.length && shorter < maxLength
      ? [{ change: `--allow all --max-length ${shorter}`, bytes: least({ settings: allowed, maxLength: shorter, bucketLengths: [shorter] }) }]
      : []),
  ].sort((a, b) => a.bytes - b.bytes);
}

/** Groups of combinations that change the numbers in the same ways, the fewest changes first. */
function byChanges(list: readonly Combination[]): readonly (readonly Combination[])[] {
  const groups = new Map<string, Combination[]>();
  for (const combination of list) {
    const key = combination.changed.join();
    groups.set(key, [...(groups.get(key) ?? []), combination]);
  }
  return [...groups.values()].sort((a, b) => a[0]!.changed.length - b[0]!.changed.length);
}

interface Chosen {
  readonly planned: PlannedRun;
  readonly chosen: Candidate;
}

function chooseWithin(request: PlanRequest, evaluator: Evaluator, groups: readonly (readonly Combination[])[]): Chosen {
  for (const group of groups) {
    if (isHopeless(group, evaluator, request.memoryBytes)) continue;
    const compiled = new Map<TrainingPlan, PlannedRun>();
    const compileAt = (path: Path, index: number): PlannedRun => {
      const { plan } = path.evaluate(index);
      const planned = compiled.get(plan) ?? compilePlan(request, plan);
      // A plan that fits is kept: the search may come back to it.
      if (planned.fits) compiled.set(plan, planned);
      path.correct(index, planned.report.forecastBytes);
      return planned;
    };
    for (;;) {
      const found = search(group, evaluator, request.memoryBytes);
      if (found === undefined) break;
      const planned = compileAt(found.path, found.index);
      if (planned.fits) return { planned, chosen: found.candidate };
      narrow(found, planned.report.forecastBytes, { budgetBytes: request.memoryBytes, bytesAt: (index) => compileAt(found.path, index).report.forecastBytes });
    }
  }
  const ends = groups.map((group) => smallestOf(group, evaluator));
  const { path, index } = ends.reduce(smaller);
  const chosen = path.evaluate(index);
  return { planned: compilePlan(request, chosen.plan), chosen };
}

/** Not worth a search: even the smallest is far too large. The first combination alone often shows that it is not so, and often its fastest plan. */
function isHopeless(group: readonly Combination[], evaluator: Evaluator, memoryBytes: number): boolean {
  const first = evaluator.path(group[0]!);
  return [0, first.last].every((index) => first.estimate(index).bytes > memoryBytes) && smallestOf(group, evaluator).candidate.bytes > memoryBytes * HOPELESS;
}

function smaller(a: Found, b: Found): Found {
  return b.candidate.bytes < a.candidate.bytes ? b : a;
}
