/** docs/cli.md as text, made from the verbs and the schema: `node tools/write-cli-docs.js` writes it, a test compares. */

import { Command, type Option } from 'commander';
import { ALIASES } from '../run/aliases.ts';
import { CONFIG_KEYS, keyInfo, type ConfigKey } from '../run/config-schema.ts';
import { defaultText, flagOf, groupOf } from './config-flags.ts';
import { PLAIN } from './colour.ts';
import type { VerbContext } from './verb.ts';
import { VERBS } from './verbs.ts';

const INTRODUCTION = `# Command line

\`fulltune <verb> [arguments] [--flags]\`. Flags may be spelt with \`-\` or \`_\`. Written by \`node tools/write-cli-docs.js\`; do not edit.

| exit code | meaning |
|---|---|
| 0 | done; for \`plan\`: it fits |
| 2 | a mistake in settings, files or data, or the run does not fit: one short message says what, where and what to do |
| 69 | a run on PyTorch lost a rank, which died or hung: the message says which, and names the last complete checkpoint |
| 75 | memory ran out because others on the machine took it: a checkpoint is written; the last line is the \`fulltune resume RUN --memory X\` that fits |
| 130 | interrupted: Ctrl-C or SIGTERM once writes a checkpoint and stops, twice stops at once; \`fulltune resume RUN\` goes on |
| 1 | a bug in fulltune, with its stack |

Colour appears on terminals only, and not when \`NO_COLOR\` is set.`;

const KEYS_INTRODUCTION = `## Settings

One set of keys for the YAML file (\`max_length: 512\`), the flags (\`--max-length 512\`) and TypeScript (\`{ max_length: 512 }\`). Flags win over
the file. A switch is \`--packing\` or \`--no-packing\`. Contradictory settings are an error, and so is a key that is not in this list.
\`dist/config.schema.json\` (also \`fulltune/config.schema.json\`) is the same list for editors. Names that other trainers have for the same thing
(the last table) are taken, too, and a notice says which key was meant; one setting under two names is an error.`;

export async function cliReference(): Promise<string> {
  const verbs: string[] = [];
  for (const { name, load } of VERBS) {
    const command = new Command('fulltune').command(name);
    (await load())(command, NO_CONTEXT, () => undefined);
    const described = VERBS.find((verb) => verb.name === name)?.summary ?? '';
    verbs.push(`### fulltune ${name}\n\n${described}`);
    if (command.commands.length === 0) verbs.push(verbText(command, `fulltune ${name}`));
    for (const sub of command.commands) verbs.push(`**fulltune ${name} ${sub.name()}**: ${sub.description()}`, verbText(sub, `fulltune ${name} ${sub.name()}`));
  }
  const aliases = `### Names of other trainers\n\n| name | means |\n|---|---|\n${aliasRows()}`;
  const groups = [...new Set(CONFIG_KEYS.map(groupOf))].map((group) => `### ${group}\n\n${keyTable(CONFIG_KEYS.filter((key) => groupOf(key) === group))}`);
  return `${[INTRODUCTION, '## Verbs', ...verbs, KEYS_INTRODUCTION, ...groups, aliases].join('\n\n')}\n`;
}

/** Declaring a verb asks nothing of it; running one from here would be a mistake. */
const NO_CONTEXT: VerbContext = {
  terminal: { live: false, columns: 100, paint: PLAIN, write: () => undefined, writeError: () => undefined },
  loadEngine: () => Promise.reject(new Error('the reference does not run verbs')),
};

function verbText(command: Command, name: string): string {
  // `plan` has a --device of its own, which takes more than the key does.
  const isKey = (option: Option): boolean => option.hidden || CONFIG_KEYS.some((key) =>
    (option.long === flagOf(key) && option.description.startsWith(keyInfo(key).description)) || option.long === `--no-${flagOf(key).slice(2)}`);
  const keys = CONFIG_KEYS.filter((key) => command.options.some(({ long }) => long === flagOf(key)));
  const words = command.registeredArguments.map((argument) => (argument.required ? `<${argument.name()}>` : `[${argument.name()}]`));
  const rows = [
    ...command.registeredArguments.map((argument, index) => `| \`${words[index]}\` | ${argument.description} |`),
    ...command.options.filter((option) => !isKey(option) || (keys.length < 4 && !option.hidden)).map(({ flags, description }) => `| \`${flags}\` | ${description} |`),
  ];
  const all = keys.length === CONFIG_KEYS.length;
  const settings = all ? 'Takes all settings below.' : keys.length < 4 ? '' : `Takes these of the settings below: ${keys.map((key) => `\`${flagOf(key)}\``).join(', ')}.`;
  return [
    `    ${[name, ...words, '[flags]'].join(' ')}`,
    ...(settings === '' ? [] : [settings]),
    `| | |\n|---|---|\n${rows.join('\n')}`,
  ].join('\n\n');
}

/** One row per key. */
function aliasRows(): string {
  const keys = [...new Set(Object.values(ALIASES))];
  return keys.map((key) => `| ${Object.entries(ALIASES).filter(([, own]) => own === key).map(([alias]) => `\`${alias}\``).join(', ')} | \`${key}\` |`).join('\n');
}

function keyTable(keys: readonly ConfigKey[]): string {
  const rows = keys.map((key) => {
    const info = keyInfo(key);
    const standard = info.required ? 'required' : (defaultText(key) ?? '');
    return `| \`${key}\` | ${info.limit} | ${standard === '' || info.required ? standard : `\`${standard}\``} | ${info.description} |`;
  });
  return `| key | takes | default | |\n|---|---|---|---|\n${rows.join('\n')}`;
}
