/** `fulltune train [config.yaml] --flags`. */

import { FulltuneError } from '../base/errors.ts';
import { followRun } from './follow-run.ts';
import { showPlan } from './plan.ts';
import { addConfigArguments, configOf } from './run-config.ts';
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
      const config = await configOf(command);
      const plan = planPath === undefined ? undefined : (await import('./read-plan-file.ts')).readPlanFile(planPath);
      if (print !== undefined || dryRun === true) {
        const torchPlan = plan !== undefined && 'engine' in plan ? { plan } : {};
        const onTorch = print !== undefined || (await (await context.loadEngine()).chooseEngine(config, plan)).engine === 'torch';
        if (!onTorch) return showPlan(config, context, { json, ...(plan === undefined || 'engine' in plan ? {} : { plan }) });
        const { printLaunch, showTorchPlan } = await import('./torch-plan-view.ts');
        return print === undefined ? showTorchPlan(config, context, { json, ...torchPlan }) : printLaunch(config, context, { form: formOf(print, config.engine), ...torchPlan });
      }
      const engine = await context.loadEngine();
      return followRun((signal) => engine.train(config, { signal, ...(plan === undefined ? {} : { plan }) }), context.terminal, { json, dataset: config.eval_dataset ?? config.dataset });
    }));
};

function formOf(print: string | true, engine: string | undefined): 'torchrun' | 'slurm' {
  if (engine === 'embedded') throw new FulltuneError('E_CONFIG', '--print is for the torch engine, and engine is embedded', { where: 'flags', remedy: 'Use --engine torch.' });
  if (print === true || print === 'torchrun') return 'torchrun';
  if (print === 'slurm') return 'slurm';
  throw new FulltuneError('E_CONFIG', `--print is '${print}'; it must be torchrun or slurm`, { where: 'flags' });
}
