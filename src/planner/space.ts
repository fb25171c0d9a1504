/** The search space: which combinations of techniques the settings leave, and in which order of preference. */

import type { TrainingPlan } from '../run/training-plan.ts';
import { plainPlan } from '../run/training-plan.ts';
import { FulltuneError } from '../base/errors.ts';
import { TECHNIQUES } from '../techniques/index.ts';
import type { PlannedTechnique, StepContext, TechniqueContext } from '../techniques/technique.ts';
import type { PlanRequest } from '../compile/planned-run.ts';

export type SpaceRequest = Pick<PlanRequest, 'settings' | 'maxLength' | 'bucketLengths' | 'rowsPerEpoch' | 'frozen' | 'keep'>;

/** A plan before the techniques that propose by search have had their say. */
export interface Combination {
  readonly plan: TrainingPlan;
  /** Techniques whose value changes the numbers although the settings do not ask for it. */
  readonly changed: readonly string[];
}

function contextOf({ settings, maxLength, bucketLengths, rowsPerEpoch }: SpaceRequest): TechniqueContext {
  return { settings, maxLength, bucketLengths, rowsPerEpoch };
}

/** All combinations that contain no conflict. Throws E_CONFIG when the settings leave none, with the conflict's reason. */
export function combinations(request: SpaceRequest): readonly Combination[] {
  const { settings, maxLength, frozen } = request;
  const context = contextOf(request);
  const start = plainPlan({ rowLength: maxLength, maxGradNorm: settings.max_grad_norm, frozen, seed: settings.seed });
  const fixed = TECHNIQUES.filter((technique) => !technique.proposes);
  const plans = fixed.reduce<readonly TrainingPlan[]>((list, technique) => list.flatMap((plan) => technique.alternatives(plan, context)), [start]);
  const possible = plans.filter((plan) => keeps(plan, request) && conflictsOf(plan).length === 0);
  const [first] = plans;
  if (possible.length === 0 && first !== undefined) {
    throw new FulltuneError('E_CONFIG', conflictsOf(first).join('; '), { where: 'the settings', remedy: 'Leave one of the settings that say so out.' });
  }
  const byDefault = fixed.reduce((plan, technique) => technique.alternatives(plan, context)[0] ?? plan, start);
  return possible.map((plan) => ({ plan, changed: changedTechniques(plan, byDefault) }));
}

function keeps(plan: TrainingPlan, { keep }: SpaceRequest): boolean {
  const part = ({ optimizer, precision }: Pick<TrainingPlan, 'optimizer' | 'precision'>): string => JSON.stringify([optimizer, precision]);
  return keep === undefined || part(plan) === part(keep);
}

/** Why the other values of a technique cannot go with the rest of `plan`. */
export function conflictOfOthers(technique: PlannedTechnique, plan: TrainingPlan, request: SpaceRequest): string | undefined {
  const others = technique.alternatives(plan, contextOf(request)).filter((other) => !technique.same(other, plan));
  return others.map((other) => technique.conflict(other)).find((reason) => reason !== undefined);
}

function conflictsOf(plan: TrainingPlan): readonly string[] {
  return TECHNIQUES.flatMap((technique) => {
    const reason = technique.conflict(plan);
    return reason === undefined ? [] : [`${technique.name}: ${reason}`];
  });
}

/** Names of the techniques that change the numbers in `plan` and do something else than in `byDefault`. */
function changedTechniques(plan: TrainingPlan, byDefault: TrainingPlan): readonly string[] {
  return TECHNIQUES.filter((technique) => technique.numerics(plan) === 'changed' && !technique.same(plan, byDefault)).map(({ name }) => name);
}

/** From least to most memory saved, and so from fastest to slowest: what the proposing techniques make of a combination. */
export function proposals(plan: TrainingPlan, request: SpaceRequest, step: StepContext): readonly TrainingPlan[] {
  const context: TechniqueContext = { ...contextOf(request), step };
  return TECHNIQUES.filter(({ proposes }) => proposes).reduce<readonly TrainingPlan[]>((list, technique) => list.flatMap((each) => technique.alternatives(each, context)), [plan]);
}

/** Parts of a list of combinations, each with one key, in the order in which keys first appear. */
export function grouped(list: readonly Combination[], keyOf: (combination: Combination) => string): readonly (readonly Combination[])[] {
  const groups = new Map<string, Combination[]>();
  for (const combination of list) {
    const key = keyOf(combination);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [combination]);
    else group.push(combination);
  }
  return [...groups.values()];
}
