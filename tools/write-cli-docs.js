/** Writes docs/cli.md from the verbs and the schema in dist/: `npm run build && node tools/write-cli-docs.js`. */

import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { cliReference } from '../dist/cli/reference.js';

writeFileSync(fileURLToPath(new URL('../docs/cli.md', import.meta.url)), await cliReference());
