/** The plan in a file: a run's plan.json, or what `fulltune plan --json` printed; for either engine. */

import { readFileSync } from 'node:fs';
import { FulltuneError } from '../base/errors.ts';
import type { TorchPlan } from '../run/torch-plan.ts';
import { parseAnyPlan } from '../run/torch-plan-schema.ts';
import type { TrainingPlan } from '../run/training-plan.ts';

/** Throws E_FILE when it cannot be read, E_RUN when it is no plan. */
export function readPlanFile(path: string): TrainingPlan | TorchPlan {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new FulltuneError('E_FILE', `'${path}' cannot be read: ${error instanceof Error ? error.message : String(error)}`, { where: '--plan', cause: error, remedy: 'Give the plan.json of a run.' });
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new FulltuneError('E_RUN', `'${path}' is not valid JSON: ${error instanceof Error ? error.message : String(error)}`, { where: '--plan', cause: error, remedy: 'Give the plan.json of a run.' });
  }
  const plan: unknown = typeof json === 'object' && json !== null && 'plan' in json ? json.plan : json;
  return parseAnyPlan(plan, path);
}
