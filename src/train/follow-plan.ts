/** A plan that was given instead of made: of an earlier run, or from a file. */

import { FulltuneError } from '../base/errors.ts';
import { buildGraphs } from '../compile/compile.ts';
import { compilePlan, stepContext, type PlannedRun, type PlanRequest } from '../compile/planned-run.ts';
import { ALLOWABLE, type RunConfig } from '../run/run-config.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import { TECHNIQUES } from '../techniques/index.ts';
import { rowsPerUpdate } from '../techniques/accumulation.ts';
import type { TechniqueContext } from '../techniques/technique.ts';

/**
 * Compiles `plan`, if it is one for these settings and data. `config` is what the user wrote: a key that is set must agree with the plan. Throws
 * E_CONFIG, naming the technique, what the plan has and what the settings make.
 */
export function followPlan(request: PlanRequest, plan: TrainingPlan, config: RunConfig): PlannedRun {
  const { settings, frozen } = request;
  const conflict = TECHNIQUES.find((technique) => technique.conflict(plan) !== undefined);
  if (conflict !== undefined) throw new FulltuneError('E_CONFIG', `the plan contradicts itself: ${conflict.name}: ${conflict.conflict(plan)!}`, { where: 'plan', remedy: 'Make a new plan.' });
  const context = contextOf(request, plan);
  for (const technique of TECHNIQUES) {
    const decides = technique.name === 'packing' || technique.keys.some((key) => config[key] !== undefined);
    if (!decides) continue;
    const options = technique.alternatives(plan, context);
    if (!options.some((option) => technique.same(option, plan))) throw differs(technique.name, technique.explain(plan).value, options.map((option) => technique.explain(option).value).join(', or '));
  }
  const rows = rowsPerUpdate(settings, request.maxLength);
  if (plan.batch.rowsPerUpdate !== rows) throw differs('rows per update', String(plan.batch.rowsPerUpdate), String(rows));
  if (plan.maxGradNorm !== settings.max_grad_norm) throw differs('max_grad_norm', String(plan.maxGradNorm), String(settings.max_grad_norm));
  if (plan.frozen.join() !== frozen.join()) throw differs('frozen parameters', plan.frozen.join(', ') || 'none', frozen.join(', ') || 'none');
  return compilePlan(request, plan);
}

function differs(what: string, has: string, wants: string): FulltuneError {
  return new FulltuneError('E_CONFIG', `${what}: the plan has ${has}, and the settings with these data make ${wants}`, {
    where: 'plan', remedy: 'Make a new plan (resume: --replan), or use the settings that the plan was made with.',
  });
}

/** What the settings permit in the widest sense: a plan may hold whatever `allow` could have permitted when it was made. */
function contextOf({ settings, model, maxLength, bucketLengths, rowsPerEpoch, time }: PlanRequest, plan: TrainingPlan): TechniqueContext {
  const step = stepContext(plan, buildGraphs({ model, plan, purpose: 'train' }), { time, model });
  return { settings: { ...settings, allow: ALLOWABLE }, maxLength, bucketLengths, rowsPerEpoch, step };
}
