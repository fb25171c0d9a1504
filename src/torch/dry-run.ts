/** `train --engine torch --dry-run`: the plan of the run, with nothing written. */

import type { RunConfig } from '../run/run-config.ts';
import type { Choice } from '../run/events.ts';
import type { TorchPlan } from '../run/torch-plan.ts';
import { describePlan, totalStepsOf } from './job.ts';
import { prepareTorchRun, type TorchPrepareOptions } from './prepare-torch-run.ts';

export interface TorchPlanResult {
  readonly plan: TorchPlan;
  readonly model: { readonly name: string; readonly type: string };
  readonly totalSteps: number;
  readonly choices: readonly Choice[];
  readonly techniques: readonly Omit<Choice, 'reason'>[];
}

export async function planOnTorch(config: RunConfig, options: TorchPrepareOptions = {}): Promise<TorchPlanResult> {
  const prepared = await prepareTorchRun(config, options);
  const { plan, model, choices, data } = prepared;
  const totalSteps = totalStepsOf(prepared);
  data.train.close();
  data.evaluation?.close();
  return { plan, model: { name: model.name, type: model.config.modelType }, totalSteps, choices, techniques: describePlan(plan) };
}
