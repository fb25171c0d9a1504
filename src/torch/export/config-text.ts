/** Config files as the Python libraries read them: YAML 1.1, where `no` is false and `1e-8` a text, and the TOML of a config of sections. */

import { stringify } from 'yaml';
import type { Value } from './sheet.ts';

/** Words that YAML 1.1 takes for true, false and numbers are quoted; a number with an exponent gets the point that it needs there. */
export function yamlText(values: Readonly<Record<string, Value>>): string {
  return stringify(values, { version: '1.1', lineWidth: 0 }).replace(/^%YAML 1\.1\n---\n/, '').replace(/(: |- )(-?\d+)(e[-+]\d+)$/gm, '$1$2.0$3');
}

/** `[section]`, then keys with scalars and lists of them. Keys are `section.key`. */
export function tomlText(values: ReadonlyMap<string, Value>): string {
  const sections = new Map<string, string[]>();
  for (const [path, value] of values) {
    const [section = '', key = ''] = path.split('.');
    sections.set(section, [...(sections.get(section) ?? []), `${key} = ${scalar(value)}`]);
  }
  return [...sections].map(([section, lines]) => `[${section}]\n${lines.join('\n')}\n`).join('\n');
}

/** JSON's texts, numbers, booleans and lists are TOML's; 1e-8 is a float there, too. */
function scalar(value: Value): string {
  return JSON.stringify(value);
}
