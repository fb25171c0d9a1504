/** What a person reads after an export: how to run it, what does not translate and what the other trainer does instead. */

import type { Exported } from '../index.ts';

/** `out`: the file that was written; undefined when the config went to standard output. */
export function renderExport({ trainer, command, untranslated, elsewhere, sideFiles, batch }: Exported, out: string | undefined): string {
  const { rowsPerUpdate, microBatchSize, accumulationSteps, ranks } = batch;
  const lines = [
    ...(out === undefined ? [] : [`written: ${[out, ...sideFiles.map(({ name }) => name)].join(', ')}`]),
    `rows per update: ${microBatchSize} × ${accumulationSteps} × ${ranks} ${ranks === 1 ? 'rank' : 'ranks'} = ${rowsPerUpdate}, as in the plan`,
    `run it: ${command.join('\n        ')}`,
    ...(out === undefined ? sideFiles.map(({ name, text }) => `beside it, as ${name}:\n${text.trimEnd()}`) : []),
    ...(elsewhere.length === 0 ? [] : [`to be set in the script that it starts: ${elsewhere.join('; ')}`]),
    ...(untranslated.length === 0 ? [`everything else is in the config of ${trainer}`] : [`not translated to ${trainer}:`]),
    ...untranslated.map(({ setting, reason, instead }) => `  ${setting}: ${reason}.\n    ${instead}`),
  ];
  return `${lines.join('\n')}\n`;
}
