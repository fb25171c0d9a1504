/** The long part of the suite: every technique with every other, whole runs each. `npm test` leaves it to .ci/run. */

import { defineConfig } from 'vitest/config';
import quick from './vitest.config.ts';

export default defineConfig({ ...quick, test: { ...quick.test, include: ['test/full/**/*.test.ts'], exclude: [] } });
