/** `fulltune train [config.yaml] --flags`. */

import { followRun } from './follow-run.ts';
import { addConfigArguments, configOf } from './run-config.ts';
import { showPlan } from './show-plan.ts';
import type { ConfigureVerb } from './verb.ts';

interface TrainFlags {
  readonly dryRun?: true;
  readonly json?: true;
  readonly plan?: string;
}

export const configureTrain: ConfigureVerb = (command, context, run) => {
  addConfigArguments(command)
    .option('--dry-run', 'print the plan and its memory table; nothing is trained or written')
    .option('--plan <file>', 'follow this plan.json (or the output of fulltune plan --json) instead of making one')
    .option('--json', 'events as JSON lines on standard output, nothing else')
    .action(() => run(async () => {
      const { dryRun, json = false, plan: planPath } = command.opts<TrainFlags>();
      const config = await configOf(command, context.terminal);
      const plan = planPath === undefined ? undefined : (await import('./read-plan-file.ts')).readPlanFile(planPath);
      if (dryRun === true) return showPlan(config, context, { json, ...(plan === undefined ? {} : { plan }) });
      const engine = await context.loadEngine();
      return followRun((signal) => engine.train(config, { signal, ...(plan === undefined ? {} : { plan }) }), context.terminal, { json, dataset: config.eval_dataset ?? config.dataset });
    }));
};
