/** The config of a verb that takes a file and flags: flags win over the file. */

import type { Command } from 'commander';
import { FulltuneError } from '../base/errors.ts';
import type { PlanConfig } from '../index.ts';
import { CONFIG_KEYS, keyInfo, parseConfig, type ConfigKey, type OnAlias } from '../run/config-schema.ts';
import type { RunConfig } from '../run/run-config.ts';
import { addConfigFlags, configFromFlags } from './config-flags.ts';
import type { Terminal } from './terminal.ts';

/** Adds `[config.yaml]` and a flag per key. */
export function addConfigArguments(command: Command, keys?: readonly ConfigKey[]): Command {
  return addConfigFlags(command.argument('[config]', 'a .yaml or .json file with settings; flags win over it'), keys);
}

/** Says on standard error which key was meant by another trainer's name. */
export function aliasTeller(terminal: Terminal): OnAlias {
  return (notice) => terminal.writeError(`${notice}\n`);
}

/** All keys but `device`, for `plan`, whose flag of that name takes devices that are not here, too. */
export const KEYS_WITHOUT_DEVICE: readonly ConfigKey[] = CONFIG_KEYS.filter((key) => key !== 'device');

/** Whether the embedded engine has the device; any other name is one to plan a run on PyTorch for. */
export function isEmbedded(device: string | undefined): boolean {
  return device === undefined || device === 'cpu' || device === 'reference';
}

/** The same for planning, where the dataset may be left out. */
export async function planConfigOf(command: Command, terminal: Terminal, keys: readonly ConfigKey[] = CONFIG_KEYS): Promise<PlanConfig> {
  const path: unknown = command.processedArgs[0];
  const tell = aliasTeller(terminal);
  const flags = configFromFlags(command, keys, tell);
  const { readConfigFile } = await import('./read-config-file.ts');
  const { model, ...rest } = { ...(typeof path === 'string' ? readConfigFile(path, tell) : {}), ...flags };
  if (model === undefined) throw new FulltuneError('E_CONFIG', 'model is missing', { where: typeof path === 'string' ? path : 'flags', remedy: `--model: ${keyInfo('model').description}` });
  return { model, ...rest };
}

/** Reads what addConfigArguments declared. Throws E_CONFIG and E_FILE. */
export async function configOf(command: Command, terminal: Terminal): Promise<RunConfig> {
  const path: unknown = command.processedArgs[0];
  const tell = aliasTeller(terminal);
  const flags = configFromFlags(command, CONFIG_KEYS, tell);
  if (typeof path !== 'string') return parseConfig(flags, 'flags');
  const { readConfigFile } = await import('./read-config-file.ts');
  return parseConfig({ ...readConfigFile(path, tell), ...flags }, path);
}
