/** `fulltune export PLAN --to TRAINER`: the config on standard output or in a file, what does not translate on standard error. */

import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { Option } from 'commander';
import { FulltuneError } from '../base/errors.ts';
import type { Exported } from '../index.ts';
import { CONFIG_KEYS } from '../run/config-schema.ts';
import { addConfigFlags, configFromFlags } from './config-flags.ts';
import { renderExport } from './export-view.ts';
import { aliasTeller } from './run-config.ts';
import type { ConfigureVerb } from './verb.ts';

interface ExportFlags {
  readonly to: string;
  readonly config?: string;
  readonly out?: string;
  readonly distributed?: 'none' | 'ddp' | 'fsdp' | 'deepspeed' | 'tpu';
  readonly json?: true;
}

export const configureExport: ConfigureVerb = (command, { terminal, loadEngine }, run) => {
  addConfigFlags(command.argument('<plan>', 'a plan.json, the output of fulltune plan --json, or a run directory'))
    .requiredOption('--to <trainer>', 'trl, accelerate, deepspeed, axolotl, llama-factory or torchtitan')
    .option('--config <file>', 'the settings of the run, .yaml or .json; flags win over it (default: config.yaml of a run directory)')
    .option('--out <file>', 'write there instead of to standard output; files that belong beside it go into the same folder')
    .addOption(new Option('--distributed <word>', 'how the ranks share the work: none, ddp, fsdp, deepspeed or tpu (default: as in the plan)').choices(['none', 'ddp', 'fsdp', 'deepspeed', 'tpu']))
    .option('--json', 'everything as one JSON object on standard output')
    .action((path: string) => run(async () => {
      const { to, config: configPath, out, distributed, json = false } = command.opts<ExportFlags>();
      const { readConfigFile } = await import('./read-config-file.ts');
      const tell = aliasTeller(terminal);
      const flags = configFromFlags(command, CONFIG_KEYS, tell);
      const engine = await loadEngine();
      const source = await engine.readPlanSource(path);
      const config = { ...(configPath === undefined ? source.config : readConfigFile(configPath, tell)), ...flags };
      if (out !== undefined) checkOut(out);
      const exported = await engine.exportPlan(source.plan, config, {
        to: to as Parameters<typeof engine.exportPlan>[2]['to'], distributed, totalSteps: source.totalSteps,
        ...(out === undefined ? {} : { folder: dirname(out), file: out }),
      });
      if (out !== undefined) write(out, exported);
      if (json) terminal.write(`${JSON.stringify(exported)}\n`);
      else if (out === undefined) terminal.write(exported.text);
      terminal.writeError(renderExport(exported, out));
      return 0;
    }));
};

/** Before the work: throws E_FILE for what cannot be a file of ours. */
function checkOut(out: string): void {
  if (existsSync(out) && statSync(out).isDirectory()) {
    throw new FulltuneError('E_FILE', `--out '${out}' is a folder`, { where: out, remedy: `Name a file: --out ${join(out, 'config.yaml')}` });
  }
}

/** Files beside the config are never replaced by others: they may be the user's. */
function write(out: string, { text, sideFiles }: Exported): void {
  const folder = dirname(out);
  for (const { name, text: content } of sideFiles) {
    const path = join(folder, name);
    if (existsSync(path) && readFileSync(path, 'utf8') !== content) {
      throw new FulltuneError('E_FILE', `'${path}' is there already and says something else`, { where: path, remedy: `Write into another folder: --out ${join(folder, 'export', basename(out))}` });
    }
  }
  try {
    mkdirSync(folder, { recursive: true });
    for (const { name, text: content } of sideFiles) writeFileSync(join(folder, name), content);
    writeFileSync(out, text);
  } catch (error) {
    throw new FulltuneError('E_FILE', `cannot write '${out}': ${(error as Error).message}`, { where: out, cause: error, remedy: 'Name a file in another folder.' });
  }
}
