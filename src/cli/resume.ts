/** `fulltune resume RUN`: from the newest complete checkpoint, or from the one that is named. */

import { join } from 'node:path';
import { addConfigFlags, configFromFlags } from './config-flags.ts';
import { CONFIG_KEYS } from '../run/config-schema.ts';
import { followRun } from './follow-run.ts';
import { aliasTeller } from './run-config.ts';
import type { ConfigureVerb } from './verb.ts';

interface ResumeFlags {
  readonly resumeFromCheckpoint?: string;
  readonly json?: true;
  readonly replan?: true;
  readonly print?: string | true;
}

export const configureResume: ConfigureVerb = (command, context, run) => {
  const { terminal, loadEngine } = context;
  addConfigFlags(command.argument('<run>', 'run directory'))
    .option('--resume-from-checkpoint <name>', 'checkpoint-STEP; default: the newest. Later ones are removed.')
    .option('--replan', 'make a new plan for the memory that there is now; --memory does so too')
    .option('--print [form]', 'a run on PyTorch: print the torchrun command or slurm batch file that goes on with it elsewhere')
    .option('--json', 'events as JSON lines on standard output, nothing else')
    .action((directory: string) => run(async () => {
      const { resumeFromCheckpoint: checkpoint, json = false, replan = false, print } = command.opts<ResumeFlags>();
      const changes = configFromFlags(command, CONFIG_KEYS, aliasTeller(terminal));
      if (print !== undefined) {
        const { launchForm, printLaunch } = await import('./torch-plan-view.ts');
        const form = launchForm(print);
        return printLaunch(context, form, (engine, signal) => engine.prepareResumeLaunch(directory, changes, { form, signal, ...(checkpoint === undefined ? {} : { checkpoint }) }));
      }
      const engine = await loadEngine();
      return followRun(
        (signal) => engine.resume(directory, changes, { signal, replan, ...(checkpoint === undefined ? {} : { checkpoint }) }),
        terminal,
        { json, dataset: changes.eval_dataset ?? await datasetOf(directory) },
      );
    }));
};

/** What the run was evaluated or trained on, for the command that is shown at the end. A run that cannot be read is refused by the engine. */
async function datasetOf(directory: string): Promise<string | undefined> {
  const { readConfigFile } = await import('./read-config-file.ts');
  try {
    const { eval_dataset: evaluation, dataset } = readConfigFile(join(directory, 'config.yaml'));
    return evaluation ?? dataset;
  } catch {
    return undefined;
  }
}
