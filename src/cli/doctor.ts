/** `fulltune doctor`: one line per check; 2 when one of them fails. */

import { formatTable } from '../base/table.ts';
import type { DoctorReport } from '../index.ts';
import type { Paint } from './colour.ts';
import { USER_MISTAKE } from './exit-code.ts';
import type { ConfigureVerb } from './verb.ts';

export const configureDoctor: ConfigureVerb = (command, { terminal, loadEngine }, run) => {
  command
    .option('--json', 'the checks as one JSON object on standard output')
    .action(() => run(async () => {
      const { doctor } = await loadEngine();
      const report = await doctor();
      terminal.write(command.opts<{ json?: true }>().json === true ? `${JSON.stringify(report)}\n` : renderDoctor(report, terminal.paint));
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
