/** RunConfig as YAML text: the form in which users write it and runs store it. */

import { LineCounter, parseDocument, stringify, isMap, isScalar } from 'yaml';
import { FulltuneError } from '../base/errors.ts';
import { bothGiven } from './aliases.ts';
import { parsePartialConfig, type OnAlias } from './config-schema.ts';
import type { RunConfig } from './run-config.ts';

/** Keys and values of a YAML (or JSON) text; keys may be missing, none may be unknown. Errors name line and column: `run.yaml:3:1`. */
export function configFromYaml(text: string, where: string, onAlias?: OnAlias): Partial<RunConfig> {
  const lines = new LineCounter();
  const place = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${where}:${line}:${col}`;
  };
  const document = parseDocument(text, { prettyErrors: false, lineCounter: lines });
  const [error] = document.errors;
  if (error !== undefined) {
    const json = /\.json$/i.test(where);
    throw new FulltuneError('E_CONFIG', `this is not valid ${json ? 'JSON' : 'YAML'}: ${error.message}`, {
      where: place(error.pos[0]), remedy: json ? 'Settings are one object: {"max_length": 512}.' : 'Settings are lines such as max_length: 512.',
    });
  }
  if (document.contents === null) return {};
  if (!isMap(document.contents)) return parsePartialConfig(document.toJS(), where);
  const config: Record<string, unknown> = {};
  const names = new Map<string, string>();
  for (const { key, value } of document.contents.items) {
    const name = isScalar(key) ? String(key.value) : String(key);
    const keyPlace = isScalar(key) && key.range ? place(key.range[0]) : where;
    const js = (value as { toJS?: (document: unknown) => unknown } | null)?.toJS?.(document) ?? null;
    for (const [own, checked] of Object.entries(parsePartialConfig({ [name]: js }, keyPlace, onAlias))) {
      const before = names.get(own);
      if (before !== undefined) throw bothGiven(own, [before, name], keyPlace);
      names.set(own, name);
      config[own] = checked;
    }
  }
  return config;
}

export function configToYaml(config: Partial<RunConfig>): string {
  return stringify(config);
}
