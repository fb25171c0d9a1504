/** JSON objects in files: read with an error that names the file, written so that they are never seen half. */

import { readFileSync } from 'node:fs';
import { FulltuneError } from '../base/errors.ts';
import { writeTextAtomically } from './durable.ts';
import { fileError } from './fs-errors.ts';

export function readJson(path: string): Readonly<Record<string, unknown>> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw fileError(error, 'read', path);
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new FulltuneError('E_FILE', `'${path}' is not JSON: ${error instanceof Error ? error.message : String(error)}`, { where: path });
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new FulltuneError('E_FILE', `'${path}' does not hold a JSON object`, { where: path });
  return json as Readonly<Record<string, unknown>>;
}

export function writeJson(path: string, value: object): void {
  writeTextAtomically(path, `${JSON.stringify(value, null, 2)}\n`);
}
