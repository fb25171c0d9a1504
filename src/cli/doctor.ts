/** `fulltune doctor`: one line per check; 2 when one of them fails. */

import { FulltuneError } from '../base/errors.ts';
import { formatTable } from '../base/table.ts';
import type { DoctorReport } from '../index.ts';
import type { Paint } from './colour.ts';
import { USER_MISTAKE } from './exit-code.ts';
import type { ConfigureVerb } from './verb.ts';

export const configureDoctor: ConfigureVerb = (command, { terminal, loadEngine }, run) => {
  command
    .option('--json', 'the checks as one JSON object on standard output')
    .option('--engine <word>', 'embedded, or torch: what the torch engine needs, what is missing, and the command that installs it', 'embedded')
    .option('--python <text>', 'Python of the torch engine. Default: FULLTUNE_PYTHON, else python3.')
    .option('--recalibrate', 'measure this machine again; otherwise that is done once')
    .action(() => run(async () => {
      const { json, recalibrate = false, engine, python } = command.opts<{ json?: true; recalibrate?: true; engine: string; python?: string }>();
      if (engine !== 'embedded' && engine !== 'torch') throw new FulltuneError('E_CONFIG', `--engine is '${engine}'; it must be embedded or torch`, { where: 'flags' });
      const { doctor, torchDoctor } = await loadEngine();
      const report = engine === 'torch' ? await torchDoctor(python === undefined ? {} : { python }) : await doctor({ recalibrate });
      terminal.write(json === true ? `${JSON.stringify(report)}\n` : renderDoctor(report, terminal.paint));
      return report.checks.every(({ ok }) => ok) ? 0 : USER_MISTAKE;
    }));
};

export function renderDoctor({ checks }: DoctorReport, paint: Paint): string {
  const rows = checks.flatMap(({ name, ok, detail, remedy }) => [
    [ok ? paint.apply('green', 'ok') : paint.apply('red', 'FAILS'), name, detail],
    ...(remedy === undefined ? [] : [['', '', remedy]]),
  ]);
  return `${formatTable(rows)}\n`;
}
