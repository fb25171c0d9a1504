/** `fulltune plan`: also what `inspect memory` and `train --dry-run` do. There is one way to a plan. */

import type { PlanConfig, TrainingPlan } from '../index.ts';
import { USER_MISTAKE } from './exit-code.ts';
import { INTERRUPTED, isInterruption, withInterrupt } from './interrupt.ts';
import { renderPlan } from './memory-view.ts';
import { addConfigArguments, planConfigOf } from './run-config.ts';
import type { ConfigureVerb, VerbContext } from './verb.ts';

export const configurePlan: ConfigureVerb = (command, context, run) => {
  addConfigArguments(command)
    .option('--json', 'the plan as one JSON object on standard output')
    .action(() => run(async () => showPlan(await planConfigOf(command), context, { json: command.opts<{ json?: true }>().json === true })));
};

/** Prints the plan: 0 when it fits, 2 when it does not. Leaves nothing on disk. */
export async function showPlan(config: PlanConfig, { terminal, loadEngine }: VerbContext, { json, plan }: { readonly json: boolean; readonly plan?: TrainingPlan }): Promise<number> {
  const engine = await loadEngine();
  return withInterrupt(async (signal) => {
    try {
      const result = await engine.plan(config, { signal, ...(plan === undefined ? {} : { plan }) });
      terminal.write(json ? `${JSON.stringify(result)}\n` : renderPlan(result, terminal.paint));
      return result.kind === 'fits' ? 0 : USER_MISTAKE;
    } catch (error) {
      if (!isInterruption(error, signal)) throw error;
      return INTERRUPTED;
    }
  }, { onFirst: () => terminal.writeError('stopping … (press again to stop at once)\n') });
}
