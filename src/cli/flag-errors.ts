/** commander's complaints about flags and arguments in the words of all other errors. */

import type { Command, CommanderError } from 'commander';
import { FulltuneError, nearest } from '../base/errors.ts';

/** `command` is the verb (or sub-verb) that was being parsed; undefined when the verb itself is unknown. */
export async function flagError(error: CommanderError, command: Command): Promise<FulltuneError> {
  const where = commandName(command);
  const help = `${where} --help lists what there is.`;
  const option = /unknown option '(-[^'=]*)/.exec(error.message)?.[1];
  if (option !== undefined) return unknownOption(option, command, { where, help });
  const message = error.message.replace(/^error: /, '').replace(/\n.*/s, '');
  return new FulltuneError('E_CONFIG', message, { where, remedy: help });
}

async function unknownOption(option: string, command: Command, { where, help }: { readonly where: string; readonly help: string }): Promise<FulltuneError> {
  const own = command.options.flatMap(({ long }) => (long ? [long] : []));
  const takesConfig = own.includes('--learning-rate');
  const near = nearest(option, own);
  if (takesConfig) {
    // Keys of other trainers are told what they are called here, or that this version does not have them.
    const [{ unknownKey }, { flagOf }] = await Promise.all([import('../run/config-schema.ts'), import('./config-flags.ts')]);
    const other = unknownKey(option.replace(/^-+/, '').replaceAll('-', '_'), 'flags', flagOf);
    if (!other.message.startsWith('unknown key')) return other;
  }
  return new FulltuneError('E_CONFIG', `unknown option ${option}`, { where, remedy: near === undefined ? help : `Did you mean ${near}?` });
}

/** `fulltune inspect data`. */
function commandName(command: Command): string {
  const parent = command.parent;
  return parent === null ? command.name() : `${commandName(parent)} ${command.name()}`;
}
