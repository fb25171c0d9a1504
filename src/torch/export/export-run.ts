/** What `exportPlan` does: the config of another trainer as text, and what does not translate. */

import { existsSync } from 'node:fs';
import { FulltuneError } from '../../base/errors.ts';
import type { RunConfig } from '../../run/run-config.ts';
import type { TorchPlan } from '../../run/torch-plan.ts';
import type { TrainingPlan } from '../../run/training-plan.ts';
import { parsePartialConfig } from '../../run/config-schema.ts';
import { checkAgreement } from './agreement.ts';
import { tomlText, yamlText } from './config-text.ts';
import { dataLayout } from './data-layout.ts';
import { exportedRun, type ExportedRun, type Spread } from './exported-run.ts';
import { exportPlanOf, finerRecompute } from './export-plan.ts';
import { Sheet, type Untranslated } from './sheet.ts';
import type { SideFile, Trainer } from './trainer.ts';
import type { TrainerName } from './trainer-names.ts';
import { trainerNamed } from './trainers.ts';

export interface ExportOptions extends Spread {
  readonly to: TrainerName;
  /** Updates of the whole run, where a plan's output or a run knows it. */
  readonly totalSteps?: number | undefined;
  /** Folder in which the config will lie. Default: the present one. */
  readonly folder?: string | undefined;
  /** Name of the file, for the command. Default: the trainer's own. */
  readonly file?: string | undefined;
}

export interface Exported {
  readonly trainer: string;
  readonly text: string;
  /** Files that belong beside it. */
  readonly sideFiles: readonly SideFile[];
  /** One command a line. */
  readonly command: readonly string[];
  readonly untranslated: readonly Untranslated[];
  /** Settings that go into a script of the user's. */
  readonly elsewhere: readonly string[];
  readonly batch: { readonly rowsPerUpdate: number; readonly microBatchSize: number; readonly accumulationSteps: number; readonly ranks: number };
}

/** Throws E_CONFIG: a setting that contradicts the plan, rows that cannot be shared, what the trainer needs and nobody said. */
export function exportPlan(plan: TrainingPlan | TorchPlan, config: Partial<RunConfig>, options: ExportOptions): Exported {
  const trainer = trainerNamed(options.to);
  const checked = parsePartialConfig(config, 'config');
  checkAgreement(plan, checked);
  const run = exportedRun({
    plan: exportPlanOf(plan), config: checked, spread: { ...options, ranksPerNode: options.ranksPerNode ?? checked.nproc_per_node, nodes: options.nodes ?? checked.nnodes }, totalSteps: options.totalSteps,
    layout: dataLayout(checked.dataset ?? '', existsSync), folder: options.folder ?? '.',
  });
  checkNeeds(trainer, run);
  const sheet = new Sheet();
  for (const rule of [...Object.values(trainer.settings), ...Object.values(trainer.plan)]) rule(run, sheet);
  const finer = checked.gradient_checkpointing === true ? undefined : finerRecompute(plan);
  if (finer !== undefined && !sheet.untranslated.some(({ setting }) => setting.startsWith('recompute'))) sheet.lost(`recompute of ${finer}`, `${trainer.title} recomputes whole layers or nothing`, 'Every layer keeps its input only: less memory, about a fifth more time.');
  const command = trainer.command(run, options.file ?? trainer.fileName);
  return {
    trainer: trainer.name,
    text: textOf(trainer, sheet, command),
    sideFiles: trainer.sideFiles?.(run) ?? [],
    command, untranslated: sheet.untranslated, elsewhere: sheet.elsewhere,
    batch: { rowsPerUpdate: run.rowsPerUpdate, ...trainer.batchOf(sheet.values, run) },
  };
}

function checkNeeds({ needs, title }: Trainer, { settings, totalSteps }: ExportedRun): void {
  const missing = (['model', 'dataset'] as const).filter((key) => needs.includes(key) && settings[key] === '');
  if (missing.length > 0) {
    throw new FulltuneError('E_CONFIG', `a config of ${title} names the ${missing.join(' and the ')}, and the plan does not`, {
      where: 'export', remedy: `Give ${missing.map((key) => `--${key}`).join(' and ')}, or --config run.yaml.`,
    });
  }
  if (needs.includes('steps') && totalSteps === undefined) {
    throw new FulltuneError('E_CONFIG', `${title} counts steps, and the plan does not say how many there are`, {
      where: 'export', remedy: 'Give the output of fulltune plan --json with a dataset, a run directory, or --max-steps.',
    });
  }
}

/** The notes go into the file too, where comments are allowed: they must not get lost on the way to the other machine. */
function textOf(trainer: Trainer, sheet: Sheet, command: readonly string[]): string {
  if (trainer.format === 'json') return `${JSON.stringify(sheet.nested(), null, 2)}\n`;
  const comments = [
    `${trainer.title} ${trainer.version}: ${command.join('; ')}`,
    ...(sheet.untranslated.length === 0 ? [] : ['Not translated:', ...sheet.untranslated.map(({ setting, reason, instead }) => `  ${setting}: ${reason}. ${instead}`)]),
    ...(sheet.elsewhere.length === 0 ? [] : [`In your script: ${sheet.elsewhere.join('; ')}`]),
  ].map((line) => `# ${line}\n`).join('');
  return comments + (trainer.format === 'toml' ? tomlText(sheet.values) : yamlText(sheet.nested()));
}
