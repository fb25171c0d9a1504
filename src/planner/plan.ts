/**
 * The plan of a run: the fastest combination of techniques that fits the memory. Those that keep the numbers come first; a technique that changes
 * them is taken only where it is allowed and nothing else fits. Knows no file and no device, so it also runs in a browser.
 */

import { lowerRun } from '../compile/compile.ts';
import { plannedRun, type PlannedRun, type PlanRequest, type Remedy } from '../compile/planned-run.ts';
import { ALLOWABLE, type Settings } from '../run/run-config.ts';
import type { Candidate } from './candidate.ts';
import { Evaluator } from './evaluate.ts';
import { reasonsFor } from './explain.ts';
import { frontierOf } from './frontier.ts';
import { search, smallestOfAll } from './search.ts';
import { combinations, grouped, type Combination } from './space.ts';

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
    const { path, index } = smallestOfAll(byChanges(combinations(changed)), evaluator);
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
  return grouped(list, ({ changed }) => changed.join()).toSorted((a, b) => a[0]!.changed.length - b[0]!.changed.length);
}

interface Chosen {
  readonly planned: PlannedRun;
  readonly chosen: Candidate;
}

function chooseWithin(request: PlanRequest, evaluator: Evaluator, groups: readonly (readonly Combination[])[]): Chosen {
  const compiled = (chosen: Candidate): Chosen => {
    const { plan } = chosen;
    return { chosen, planned: plannedRun(request, plan, lowerRun(evaluator.memory(plan), { plan, purpose: 'train' })) };
  };
  for (const group of groups) {
    const found = search(group, evaluator, request.memoryBytes);
    if (found !== undefined) return compiled(found.candidate);
  }
  const { path, index } = smallestOfAll(groups, evaluator);
  return compiled(path.evaluate(index));
}
