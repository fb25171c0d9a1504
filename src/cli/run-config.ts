/** The config of a verb that takes a file and flags: flags win over the file. */

import type { Command } from 'commander';
import { parseConfig } from '../run/config-schema.ts';
import type { RunConfig } from '../run/run-config.ts';
import { addConfigFlags, configFromFlags } from './config-flags.ts';

/** Adds `[config.yaml]` and a flag per key. */
export function addConfigArguments(command: Command): Command {
  return addConfigFlags(command.argument('[config]', 'a .yaml or .json file with settings; flags win over it'));
}

/** Reads what addConfigArguments declared. Throws E_CONFIG and E_FILE. */
export async function configOf(command: Command): Promise<RunConfig> {
  const path: unknown = command.processedArgs[0];
  const flags = configFromFlags(command);
  if (typeof path !== 'string') return parseConfig(flags, 'flags');
  const { readConfigFile } = await import('./read-config-file.ts');
  return parseConfig({ ...readConfigFile(path), ...flags }, path);
}
