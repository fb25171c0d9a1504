/**
 * The plan of a run: one value per technique. The first alternative that fits the memory is taken; a real search over more techniques
 * takes this function's place without changing what goes in or comes out. Knows no file and no device, so it also runs in a browser.
 */

import { compilePlan, type PlannedRun, type PlanRequest } from '../compile/planned-run.ts';
import { plainPlan, type TrainingPlan } from '../run/training-plan.ts';
import { TECHNIQUES } from '../techniques/index.ts';
import type { TechniqueContext } from '../techniques/technique.ts';

/** The first plan that fits, in the order in which techniques list their values; if none does, the smallest one seen. */
export function planRun(request: PlanRequest): PlannedRun {
  let smallest: PlannedRun | undefined;
  for (const plan of alternatives(request)) {
    const planned = compilePlan(request, plan);
    if (planned.fits) return planned;
    if (smallest === undefined || planned.report.forecastBytes < smallest.report.forecastBytes) smallest = planned;
  }
  if (smallest === undefined) throw new Error('the settings leave no plan');
  return smallest;
}

function alternatives({ settings, maxLength, bucketLengths, rowsPerEpoch, frozen }: PlanRequest): readonly TrainingPlan[] {
  const context: TechniqueContext = { settings, maxLength, bucketLengths, rowsPerEpoch };
  const empty = plainPlan({ rowLength: maxLength, maxGradNorm: settings.max_grad_norm, frozen, seed: settings.seed });
  const plans = TECHNIQUES.reduce<readonly TrainingPlan[]>((list, technique) => list.flatMap((plan) => technique.alternatives(plan, context)), [empty]);
  return plans.filter((plan) => TECHNIQUES.every((technique) => technique.conflict(plan) === undefined));
}
