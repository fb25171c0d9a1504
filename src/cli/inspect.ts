/** `fulltune inspect data | model | memory`. */

import type { Command } from 'commander';
import { FulltuneError } from '../base/errors.ts';
import { numberFlag } from './checked-flags.ts';
import { renderData, renderModel } from './inspect-view.ts';
import { configurePlanOutput } from './plan.ts';
import { addConfigArguments, configOf } from './run-config.ts';
import type { ConfigureVerb, VerbContext } from './verb.ts';

export const configureInspect: ConfigureVerb = (command, context, run) => {
  configureData(command.command('data').description('Rows as the model sees them, trained tokens marked, and counts over all.'), context, run);
  configureModel(command.command('model').description('Tensors of a model folder, grouped, with totals.'), context, run);
  const memory = command.command('memory').description('The plan of a run and its memory, as fulltune plan prints it.');
  configurePlanOutput(addConfigArguments(memory), context, run);
};

function configureData(command: Command, { terminal, loadEngine }: VerbContext, run: Parameters<ConfigureVerb>[2]): void {
  addConfigArguments(command)
    .option('--rows <n>', 'documents to show (default: 5)', numberFlag({ least: 0, most: 1_000_000, whole: true }))
    .option('--json', 'everything as one JSON object on standard output')
    .action(() => run(async () => {
      const { rows, json } = command.opts<{ rows?: number; json?: true }>();
      const config = await configOf(command, terminal);
      const { inspectData } = await loadEngine();
      const inspection = await inspectData(config, rows === undefined ? {} : { rows });
      const plain = { ...inspection, rows: inspection.rows.map((row) => ({ ...row, ids: [...row.ids], trained: [...row.trained] })) };
      terminal.write(json === true ? `${JSON.stringify(plain)}\n` : renderData(inspection, terminal.paint));
      return 0;
    }));
}

function configureModel(command: Command, { terminal, loadEngine }: VerbContext, run: Parameters<ConfigureVerb>[2]): void {
  command
    .argument('[model]', 'folder in Hugging Face format, or the id of a model in the local Hugging Face cache')
    .option('--model <text>', 'the same as a flag')
    .option('--tensors', 'every tensor, not grouped')
    .option('--json', 'everything as one JSON object on standard output')
    .action((argument: string | undefined) => run(async () => {
      const { model, tensors, json } = command.opts<{ model?: string; tensors?: true; json?: true }>();
      if (argument !== undefined && model !== undefined && argument !== model) {
        throw new FulltuneError('E_CONFIG', `two models are named: '${argument}' and --model '${model}'`, { where: 'flags', remedy: 'Keep one of them.' });
      }
      const path = argument ?? model;
      if (path === undefined) throw new FulltuneError('E_CONFIG', 'no model is named', { where: 'flags', remedy: 'fulltune inspect model DIR' });
      const { inspectModel } = await loadEngine();
      const inspection = await inspectModel(path);
      terminal.write(json === true ? `${JSON.stringify(inspection)}\n` : renderModel(inspection, terminal.paint, { grouped: tensors !== true }));
      return 0;
    }));
}
