/** `fulltune train [config.yaml] --flags`. */

import { FulltuneError } from '../base/errors.ts';
import { followRun } from './follow-run.ts';
import { addConfigArguments, configOf } from './run-config.ts';
import { showPlan } from './show-plan.ts';
import type { ConfigureVerb } from './verb.ts';

interface TrainFlags {
  readonly dryRun?: true;
  readonly json?: true;
  readonly plan?: string;
  readonly print?: string | true;
}

export const configureTrain: ConfigureVerb = (command, context, run) => {
  addConfigArguments(command)
    .option('--dry-run', 'print the plan and its memory table; nothing is trained or written')
    .option('--plan <file>', 'follow this plan.json (or the output of fulltune plan --json) instead of making one')
    .option('--print [form]', 'engine torch: write the folder of the run, and print the torchrun command or slurm batch file that trains it elsewhere')
    .option('--json', 'events as JSON lines on standard output, nothing else')
    .action(() => run(async () => {
      const { dryRun, json = false, plan: planPath, print } = command.opts<TrainFlags>();
      const config = await configOf(command, context.terminal);
      const plan = planPath === undefined ? undefined : (await import('./read-plan-file.ts')).readPlanFile(planPath);
      const torchPlan = plan !== undefined && 'engine' in plan ? { plan } : {};
      if (print !== undefined) {
        const { launchForm, printLaunch } = await import('./torch-plan-view.ts');
        const form = launchForm(print);
        if (config.engine === 'embedded') throw new FulltuneError('E_CONFIG', '--print is for the torch engine, and engine is embedded', { where: 'flags', remedy: 'Use --engine torch.' });
        return printLaunch(context, form, (engine, signal) => engine.prepareLaunch(config, { form, signal, ...torchPlan }));
      }
      if (dryRun === true) {
        const { engine } = await (await context.loadEngine()).chooseEngine(config, plan);
        if (engine === 'torch') return (await import('./torch-plan-view.ts')).showTorchPlan(config, context, { json, ...torchPlan });
        return showPlan(config, context, { json, ...(plan === undefined || 'engine' in plan ? {} : { plan }) });
      }
      const engine = await context.loadEngine();
      return followRun((signal) => engine.train(config, { signal, ...(plan === undefined ? {} : { plan }) }), context.terminal, { json, dataset: config.eval_dataset ?? config.dataset });
    }));
};
