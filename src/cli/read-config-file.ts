/** A config file (.yaml, .yml or .json) as settings; errors name the line. */

import { readFileSync } from 'node:fs';
import { FulltuneError } from '../base/errors.ts';
import type { OnAlias } from '../run/config-schema.ts';
import { configFromYaml } from '../run/config-yaml.ts';
import type { RunConfig } from '../run/run-config.ts';

/** JSON is read as YAML, of which it is a part. Throws E_FILE and E_CONFIG. */
export function readConfigFile(path: string, onAlias?: OnAlias): Partial<RunConfig> {
  if (path === 'true' || path === 'false') {
    throw new FulltuneError('E_CONFIG', `'${path}' stands where the config file is expected`, {
      where: 'flags', remedy: 'A switch takes no value: write --packing or --no-packing.',
    });
  }
  if (!/\.(ya?ml|json)$/i.test(path)) {
    throw new FulltuneError('E_FILE', `'${path}' is not a config file: its name must end in .yaml, .yml or .json`, {
      where: path, remedy: 'The model and the data are flags: --model DIR --dataset FILE.',
    });
  }
  return configFromYaml(readText(path), path, onAlias);
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'does not exist' : `cannot be read: ${(error as Error).message}`;
    throw new FulltuneError('E_FILE', `the config file '${path}' ${reason}`, {
      where: path, remedy: `Check the spelling; it was looked for from ${process.cwd()}.`, cause: error,
    });
  }
}
