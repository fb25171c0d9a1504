/** RunConfig as YAML text: the form in which users write it and runs store it. */

import { parseDocument, stringify } from 'yaml';
import { FulltuneError } from '../base/errors.ts';
import { parsePartialConfig } from './config-schema.ts';
import type { RunConfig } from './run-config.ts';

/** Keys and values of a YAML (or JSON) text; keys may be missing, none may be unknown. Errors name line and column. */
export function configFromYaml(text: string, where: string): Partial<RunConfig> {
  const document = parseDocument(text, { prettyErrors: true });
  const [error] = document.errors;
  if (error !== undefined) throw new FulltuneError('E_CONFIG', `this is not valid YAML: ${error.message.split('\n')[0] ?? ''}`, { where });
  return parsePartialConfig(document.toJS() ?? {}, where);
}

export function configToYaml(config: Partial<RunConfig>): string {
  return stringify(config);
}
