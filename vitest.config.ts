/** The suite: unit tests beside the sources, the rest under test/. Ends with one plain line that scripts can read (tools/test-reporter.js). */

import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    // Minutes of whole runs: vitest.full.config.ts.
    exclude: ['test/full/**'],
    environment: 'node',
    env: { FULLTUNE_CACHE: join(tmpdir(), 'fulltune-test-cache') },
    // Processes, not threads: the native device has threads of its own, and a crash must not take the suite with it.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    reporters: ['default', './tools/test-reporter.js'],
  },
});
