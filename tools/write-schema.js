/** Writes dist/config.schema.json, which editors use to check and complete config files. Runs after tsc: `node tools/write-schema.js`. */

import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const { configJsonSchema } = await import('../dist/run/config-schema.js');
const { SETTINGS_DEFAULTS } = await import('../dist/run/resolve-settings.js');

const path = fileURLToPath(new URL('../dist/config.schema.json', import.meta.url));
writeFileSync(path, `${JSON.stringify(configJsonSchema(SETTINGS_DEFAULTS), null, 2)}\n`);
