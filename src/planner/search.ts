/**
 * The fastest plan within a budget. Every combination of techniques unfolds into a path of candidates, from the fastest to the smallest; along it
 * memory falls and time rises, so the fastest that fits is found by halving. The combination that promises most goes first, and one whose best
 * hope is slower than what is found already is left alone. That goes by estimates, whose time is right and whose memory is a lower bound; what comes
 * out is evaluated, and where it is too large after all the search goes on, with estimates of its neighbours that count what it needed more.
 */

import type { TrainingPlan } from '../run/training-plan.ts';
import { TECHNIQUES } from '../techniques/index.ts';
import { isBetter, type Candidate } from './candidate.ts';
import type { Evaluator } from './evaluate.ts';
import type { Found, Path } from './path.ts';
import { grouped, type Combination } from './space.ts';

/** What `smallestOf` finds may be larger than the smallest by no more than this, as far as anybody has seen. */
const HOPELESS = 1.15;

/** Techniques of which one value is the fastest whatever the others are: they are there to save memory. */
const ONE_IS_FASTEST = TECHNIQUES.filter(({ neverFaster }) => neverFaster);

/** Techniques of which any value may be the fastest. */
const ANY_MAY_BE_FASTEST = TECHNIQUES.filter(({ proposes, neverFaster }) => !proposes && !neverFaster);

/** The fastest candidate of at most `budgetBytes` among `list`, by time, then by memory; undefined when nothing fits. */
export function search(list: readonly Combination[], evaluator: Evaluator, budgetBytes: number): Found | undefined {
  for (;;) {
    const found = searchEstimates(list, evaluator, budgetBytes);
    if (found === undefined) return undefined;
    const trusted = evaluator.trustsProbes;
    const candidate = found.path.evaluate(found.index);
    if (candidate.bytes <= budgetBytes && evaluator.trustsProbes === trusted) return { ...found, candidate };
  }
}

/** The same by estimates alone; `among` the landmarks of each path it costs a fraction. */
export function searchEstimates(list: readonly Combination[], evaluator: Evaluator, budgetBytes: number, among: 'all' | 'landmarks' = 'all'): Found | undefined {
  let best: Found | undefined;
  const hopeful = apart(list).filter((part) => !isHopeless(part, evaluator, budgetBytes)).flat();
  for (const path of fastestFirst(hopeful, evaluator)) {
    if (best !== undefined && path.estimate(0).stepMs > best.candidate.stepMs) break;
    const index = firstFitting(path, budgetBytes, { best: best?.candidate, among });
    if (index === undefined) continue;
    const candidate = path.estimate(index);
    if (best === undefined || isBetter(candidate, best.candidate)) best = { path, index, candidate };
  }
  return best;
}

/** The list by how it saves memory: whole parts of it are too large for a budget. */
function apart(list: readonly Combination[]): readonly (readonly Combination[])[] {
  return grouped(list, ({ plan }) => ONE_IS_FASTEST.map((technique) => technique.key(plan)).join(' '));
}

/** Not worth a search: even the smallest is far too large. The first combination alone often shows that it is not so, and often its fastest plan. */
function isHopeless(list: readonly Combination[], evaluator: Evaluator, budgetBytes: number): boolean {
  const first = evaluator.path(list[0]!);
  const isTooLarge = (index: number): boolean => first.estimate(index).bytes > budgetBytes;
  return isTooLarge(0) && isTooLarge(first.last) && smallestOf(list, evaluator).candidate.bytes > budgetBytes * HOPELESS;
}

/**
 * The paths by their best times. Combinations that differ only in techniques which are never faster than their first value are measured when the
 * search gets to them: until then the first of them stands for all.
 */
function* fastestFirst(list: readonly Combination[], evaluator: Evaluator): Generator<Path> {
  const firsts = new Map<string, Path>();
  const waiting = new Set(list.map((combination) => {
    const path = evaluator.path(combination);
    const key = ANY_MAY_BE_FASTEST.map((technique) => technique.key(combination.plan)).join(' ');
    const bound = firsts.get(key) ?? path;
    firsts.set(key, bound);
    return { path, bound };
  }));
  const least = ({ bound }: { readonly bound: Path }): number => bound.estimate(0).stepMs;
  while (waiting.size > 0) {
    const next = [...waiting].reduce((a, b) => (least(b) < least(a) ? b : a));
    if (next.bound !== next.path) next.bound = next.path;
    else {
      waiting.delete(next);
      yield next.path;
    }
  }
}

/** The first index of `path` that fits by estimate; undefined where none does, or none that is as fast as `best`. */
function firstFitting(path: Path, budgetBytes: number, { best, among }: { readonly best: Candidate | undefined; readonly among: 'all' | 'landmarks' }): number | undefined {
  const fits = (index: number): boolean => path.estimate(index).bytes <= budgetBytes;
  const isHopeless = (index: number): boolean => best !== undefined && path.estimate(index).stepMs > best.stepMs;
  if (isHopeless(0)) return undefined;
  if (fits(0)) return 0;
  if (!fits(path.last)) return undefined;
  const { landmarks } = path;
  // Known not to fit, known to fit.
  let [from, to] = [-1, landmarks.length];
  while (to - from > 1) {
    if (from >= 0 && isHopeless(landmarks[from]!)) return undefined;
    const middle = (from + to) >> 1;
    if (fits(landmarks[middle]!)) to = middle;
    else from = middle;
  }
  let [tooBig, small] = [from < 0 ? 0 : landmarks[from]!, landmarks[to] ?? path.last];
  if (among === 'landmarks') return small;
  while (small - tooBig > 1) {
    if (isHopeless(tooBig)) return undefined;
    const middle = (tooBig + small) >> 1;
    if (fits(middle)) small = middle;
    else tooBig = middle;
  }
  return small;
}

/**
 * The smallest candidate of a list by estimate, found by changing one technique at a time: a small part of the list is looked at. What it finds is a
 * plan that exists; a smaller one could be missed where two techniques save only together.
 */
export function smallestOf(list: readonly Combination[], evaluator: Evaluator): Found {
  const end = (combination: Combination): Found => {
    const path = evaluator.path(combination);
    return { path, index: path.last, candidate: path.estimate(path.last) };
  };
  let current = list[0]!;
  let best = end(current);
  const tryOther = (other: Combination): void => {
    const found = end(other);
    if (found.candidate.bytes < best.candidate.bytes) [current, best] = [other, found];
  };
  for (let round = 0; round < 2; round++) {
    for (const technique of TECHNIQUES) {
      for (const other of list.filter(({ plan }) => TECHNIQUES.every((each) => (each === technique) !== each.same(plan, current.plan)))) tryOther(other);
    }
  }
  // Two that exclude each other are changed together: the largest micro-batch goes with an optimizer in backward.
  for (const other of list.filter(({ plan }) => plan.update === 'in-backward' && agrees(plan, current.plan, ['batch', 'update']))) tryOther(other);
  return best;
}

/** The smallest of several lists. */
export function smallestOfAll(lists: readonly (readonly Combination[])[], evaluator: Evaluator): Found {
  return lists.map((list) => smallestOf(list, evaluator)).reduce((a, b) => (b.candidate.bytes < a.candidate.bytes ? b : a));
}

/** Whether two plans are the same but for these parts and what is proposed. */
function agrees(a: TrainingPlan, b: TrainingPlan, parts: readonly (keyof TrainingPlan)[]): boolean {
  const rest = (plan: TrainingPlan): string => JSON.stringify({ ...plan, recompute: undefined, ...Object.fromEntries(parts.map((part) => [part, undefined])) });
  return rest(a) === rest(b);
}
