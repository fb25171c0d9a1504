/** Flags of `fulltune plan` for a config of another trainer. */

import { Option, type Command } from 'commander';
import { numberFlag } from './checked-flags.ts';

export interface ImportFlags {
  readonly from: string;
  readonly fromFormat?: 'trl' | 'axolotl' | 'llama-factory';
  readonly fromDevices?: number;
}

export function addImportFlags(command: Command): Command {
  return command
    .option('--from <file>', 'plan what this config of TRL, axolotl or LLaMA-Factory asks for; other flags win over it')
    .addOption(new Option('--from-format <name>', 'whose config that is: trl, axolotl or llama-factory (default: recognised by its keys)').choices(['trl', 'axolotl', 'llama-factory']))
    .option('--from-devices <n>', 'devices that it is run on there; rows per update are as many times more (default: 1)', numberFlag({ least: 1, most: 65_536, whole: true }));
}
