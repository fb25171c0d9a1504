/** Where a plan to be exported comes from: plan.json, what `fulltune plan --json` printed, or a run directory with its config. */

import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { FulltuneError } from '../../base/errors.ts';
import { CONFIG_FILE, PLAN_FILE } from '../../files/run-directory.ts';
import { EVENTS_FILE, readEvents } from '../../files/event-log.ts';
import { configFromYaml } from '../../run/config-yaml.ts';
import type { RunConfig } from '../../run/run-config.ts';
import { parseAnyPlan } from '../../run/torch-plan-schema.ts';
import type { TorchPlan } from '../../run/torch-plan.ts';
import type { TrainingPlan } from '../../run/training-plan.ts';

export interface PlanSource {
  readonly plan: TrainingPlan | TorchPlan;
  /** Of a run directory. */
  readonly config: Partial<RunConfig>;
  readonly totalSteps: number | undefined;
}

/** Throws E_FILE when it cannot be read, E_RUN when it holds no plan. */
export async function readPlanSource(path: string): Promise<PlanSource> {
  return isFolder(path) ? readRun(path) : readPlanJson(path);
}

async function readRun(folder: string): Promise<PlanSource> {
  const file = join(folder, PLAN_FILE);
  if (!existsSync(file)) {
    throw new FulltuneError('E_RUN', `'${folder}' is a folder without ${PLAN_FILE}, so it is no run`, { where: folder, remedy: 'Give a run directory, a plan.json, or the output of fulltune plan --json.' });
  }
  const configFile = join(folder, CONFIG_FILE);
  const config = existsSync(configFile) ? configFromYaml(readText(configFile), configFile) : {};
  const start = existsSync(join(folder, EVENTS_FILE)) ? (await readEvents(folder)).find((event) => event.kind === 'start') : undefined;
  return { ...readPlanJson(file), config, totalSteps: start?.totalSteps };
}

function readPlanJson(path: string): PlanSource {
  let json: unknown;
  const text = readText(path);
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new FulltuneError('E_RUN', `'${path}' is not valid JSON: ${(error as Error).message}`, { where: path, cause: error, remedy: 'Give a plan.json, or the output of fulltune plan --json.' });
  }
  const envelope = typeof json === 'object' && json !== null && 'plan' in json ? json as { readonly plan: unknown; readonly totalSteps?: unknown; readonly kind?: unknown } : undefined;
  if (envelope?.kind === 'too-small') {
    throw new FulltuneError('E_RUN', `the plan in '${path}' does not fit the memory that it was made for`, { where: path, remedy: 'Plan again with more --memory, or with the remedies that it printed.' });
  }
  return { plan: parseAnyPlan(envelope?.plan ?? json, path), config: {}, totalSteps: typeof envelope?.totalSteps === 'number' ? envelope.totalSteps : undefined };
}

function isFolder(path: string): boolean {
  return existsSync(path) && statSync(path).isDirectory();
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'does not exist' : `cannot be read: ${(error as Error).message}`;
    throw new FulltuneError('E_FILE', `'${path}' ${reason}`, { where: path, cause: error, remedy: 'Give a plan.json, the output of fulltune plan --json, or a run directory.' });
  }
}
