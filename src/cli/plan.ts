/** `fulltune plan`: also what `inspect memory` and `train --dry-run` do. There is one way to a plan. */

import type { Command } from 'commander';
import { addImportFlags } from './import-flags.ts';
import { addConfigArguments, planConfigOf } from './run-config.ts';
import { showPlan } from './show-plan.ts';
import type { ConfigureVerb, VerbContext } from './verb.ts';

export const configurePlan: ConfigureVerb = (command, context, run) => {
  addImportFlags(addConfigArguments(command));
  configurePlanOutput(command, context, run);
};

/** Flags and action of a verb that shows a plan; `command` takes a config already. */
export function configurePlanOutput(command: Command, context: VerbContext, run: Parameters<ConfigureVerb>[2]): void {
  command
    .option('--json', 'the plan as one JSON object on standard output')
    .option('--html <file>', 'write a page that shows where the memory goes; its name ends in .html')
    .action(() => run(async () => {
      const { json = false, html, from } = command.opts<{ json?: true; html?: string; from?: string }>();
      if (from !== undefined) return (await import('./plan-from.ts')).planFrom(command, context, { json, html });
      return showPlan(await planConfigOf(command, context.terminal), context, { json, html });
    }));
}
