/** The command line: finds the verb, loads it alone, and turns whatever happens into an exit code. */

import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { FulltuneError, nearest } from '../base/errors.ts';
import { normaliseArgv } from './argv.ts';
import { reportError } from './exit-code.ts';
import { flagError } from './flag-errors.ts';
import { processTerminal, type Terminal } from './terminal.ts';
import type { Engine, VerbContext } from './verb.ts';
import { VERBS, type VerbEntry } from './verbs.ts';

export interface MainOptions {
  /** Default: this process's. */
  readonly terminal?: Terminal;
  /** Default: the real one. */
  readonly loadEngine?: () => Promise<Engine>;
}

/** Runs one command line, without node and script name. The exit code: 0 done, 1 bug, 2 the user's mistake, 69 a lost rank, 75 out of memory, 130 interrupted. */
export async function main(argv: readonly string[], options: MainOptions = {}): Promise<number> {
  const terminal = options.terminal ?? processTerminal();
  const context: VerbContext = { terminal, loadEngine: options.loadEngine ?? (() => import('../index.ts')) };
  try {
    return await runVerb(normaliseArgv(argv), context);
  } catch (error) {
    return reportError(error, terminal);
  }
}

async function runVerb(argv: readonly string[], context: VerbContext): Promise<number> {
  const program = new Command('fulltune').description('Full-parameter fine-tuning that fits.').version(readVersion(), '--version', 'the version');
  prepare(program, context);
  let exitCode: Promise<number> | undefined;
  const chosen = chosenVerb(argv);
  let parsed: Command = program;
  for (const entry of VERBS) {
    const command = program.command(entry.name).summary(entry.summary).description(entry.summary);
    prepare(command, context);
    if (entry !== chosen) continue;
    (await entry.load())(command, context, (work) => {
      exitCode = work();
    });
    for (const sub of command.commands) prepare(sub, context);
    parsed = command.commands.find((sub) => sub.name() === argv[1]) ?? command;
  }
  try {
    program.parse([...argv], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return 0;
    // Help is printed for `fulltune` and `fulltune inspect` alone: nothing was asked for, so nothing went wrong.
    if (error.code === 'commander.help') return 0;
    throw await flagError(error, parsed);
  }
  return (await exitCode) ?? 0;
}

/** The verb that `argv` names. An unknown one is told with the nearest. */
function chosenVerb(argv: readonly string[]): VerbEntry | undefined {
  const [first, second] = argv;
  const name = first === 'help' ? second : first;
  if (name === undefined || name.startsWith('-')) return undefined;
  const entry = VERBS.find((verb) => verb.name === name);
  if (entry === undefined) {
    const near = nearest(name, VERBS.map((verb) => verb.name));
    throw new FulltuneError('E_CONFIG', `'${name}' is not a command of fulltune`, {
      where: 'fulltune',
      remedy: near === undefined ? `There are ${VERBS.map((verb) => verb.name).join(', ')}.` : `Did you mean fulltune ${near}?`,
    });
  }
  return entry;
}

function prepare(command: Command, { terminal }: VerbContext): void {
  command
    .exitOverride()
    .showSuggestionAfterError(false)
    .configureHelp({ helpWidth: Math.min(terminal.columns, 120), showGlobalOptions: false })
    .configureOutput({ writeOut: (text) => terminal.write(text), writeErr: (text) => terminal.writeError(text), outputError: () => undefined });
}

function readVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { readonly version: string };
  return version;
}
