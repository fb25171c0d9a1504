/** `fulltune plan --from THEIRS.yaml`: what became of each key, the plan, and what would be better with the same rows per update. */

import type { Command } from 'commander';
import { FulltuneError } from '../base/errors.ts';
import { formatBytes } from '../base/bytes.ts';
import { formatTable } from '../base/table.ts';
import type { Imported, PlanConfig, PlanResult } from '../index.ts';
import { CONFIG_KEYS } from '../run/config-schema.ts';
import { configFromFlags } from './config-flags.ts';
import type { ImportFlags } from './import-flags.ts';
import { formatDuration } from './numbers.ts';
import { aliasTeller, isEmbedded, KEYS_WITHOUT_DEVICE } from './run-config.ts';
import { showPlan, type PlanOutput } from './show-plan.ts';
import type { VerbContext } from './verb.ts';

/** Settings that change memory and time alone: what a planner may choose. */
const CHOOSABLE = ['per_device_train_batch_size', 'gradient_accumulation_steps', 'gradient_checkpointing', 'chunked_loss'] as const;

export async function planFrom(command: Command, context: VerbContext, output: Pick<PlanOutput, 'json' | 'html'>): Promise<number> {
  const { from, fromFormat, fromDevices, device } = command.opts<ImportFlags & { device?: string }>();
  const [own] = command.processedArgs as readonly unknown[];
  if (typeof own === 'string') {
    throw new FulltuneError('E_CONFIG', `two configs are named: '${own}' and --from '${from}'`, { where: 'flags', remedy: 'Keep one of them.' });
  }
  const engine = await context.loadEngine();
  const imported = await engine.importConfig(from, { format: fromFormat, ranks: fromDevices });
  const flags = configFromFlags(command, isEmbedded(device) ? CONFIG_KEYS : KEYS_WITHOUT_DEVICE, aliasTeller(context.terminal));
  const { model, ...rest } = { ...imported.config, ...flags };
  if (model === undefined) throw new FulltuneError('E_CONFIG', `'${from}' names no model`, { where: from, remedy: 'Add --model DIR.' });
  const config: PlanConfig = { model, ...rest };
  const { terminal } = context;
  (output.json ? terminal.writeError : terminal.write)(`${renderImport(imported)}\n`);
  if (device !== undefined && !isEmbedded(device)) return (await import('./show-device-plan.ts')).showDevicePlan(config, device, context, output);
  return showPlan(config, context, {
    ...output,
    more: async (written, signal) => {
      const free = CHOOSABLE.filter((key) => key in imported.config && !(key in flags));
      if (free.length === 0) return { text: '', json: { imported } };
      const better = await engine.plan(freed(config, free, written), { signal });
      return { text: renderBetter(written, better, free), json: { imported, better: { plan: better.plan, kind: better.kind, stepMs: better.stepMs, forecastBytes: better.memory.forecastBytes } } };
    },
  });
}

/** The same training: rows per update stay as the plan has them. */
function freed(config: PlanConfig, free: readonly (typeof CHOOSABLE)[number][], { plan }: PlanResult): PlanConfig {
  const kept = Object.fromEntries(Object.entries(config).filter(([key]) => !(free as readonly string[]).includes(key))) as unknown as PlanConfig;
  return config.train_batch_tokens === undefined ? { ...kept, train_batch_size: plan.batch.rowsPerUpdate } : kept;
}

export function renderImport({ file, title, translated, assumed, ignored, off }: Imported): string {
  const lines = [
    `${file} is a config of ${title}`,
    ...section('translated', translated.map(({ from, to }) => [`  ${from}`, `→ ${to}`])),
    ...section(`defaults of ${title} that the plan depends on`, assumed.map(({ from, to }) => [`  ${from}`, `→ ${to}`])),
    ...section('not translated', ignored.map(({ key, reason }) => [`  ${key}`, reason])),
    ...(off.length === 0 ? [] : [`empty or off, so nothing to translate: ${off.join(', ')}`]),
  ];
  return `${lines.join('\n')}\n`;
}

function section(title: string, rows: readonly (readonly string[])[]): readonly string[] {
  return rows.length === 0 ? [] : [`${title}:`, formatTable(rows).trimEnd()];
}

function renderBetter(written: PlanResult, better: PlanResult, free: readonly string[]): string {
  const words = free.join(', ');
  const row = (name: string, { memory, stepMs, kind, frontier, plan }: PlanResult): readonly string[] => [
    `  ${name}`, formatBytes(memory.forecastBytes), stepMs < 10_000 ? `${Math.round(stepMs)} ms` : formatDuration(stepMs / 1000), kind === 'fits' ? 'fits' : 'does not fit',
    frontier.find(({ chosen }) => chosen)?.summary ?? `micro-batch ${plan.batch.microBatchSize} × ${plan.batch.accumulationSteps}`,
  ];
  const same = better.memory.forecastBytes === written.memory.forecastBytes && better.stepMs >= written.stepMs;
  if (same) return `\nLeft to choose ${words}, fulltune would do the same.\n`;
  return `\nWith the same rows per update, and ${words} left to fulltune:\n${formatTable([row('as written', written), row('chosen', better)]).trimEnd()}\n  To get it, leave those keys out and set train_batch_size ${written.plan.batch.rowsPerUpdate}.\n`;
}
