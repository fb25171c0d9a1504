/**
 * Runs every kernel on every sample of its op under AddressSanitizer and UndefinedBehaviorSanitizer (gcc or clang with their runtime
 * libraries, Linux). In this build a kernel may touch the operands and the workspace of its own instruction only. Takes minutes.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('../', import.meta.url));
await import('./build.js');
const { compileNative } = await import(pathToFileURL(join(root, 'dist', 'devices', 'cpu', 'compile-native.js')).href);
const { file } = compileNative({ folder: join(root, 'build', 'sanitize'), sanitize: true });

const compiler = process.env.CC || 'cc';
const runtimes = ['libasan.so', 'libubsan.so'].map((name) => execFileSync(compiler, [`-print-file-name=${name}`], { encoding: 'utf8' }).trim());
const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
const tests = ['cpu/conformance', 'cpu/cpu-device', 'cpu/offload', 'file-conformance'].map((name) => `src/devices/${name}.test.ts`);
const result = spawnSync(process.execPath, [vitest, 'run', '--maxWorkers=1', ...tests], {
  cwd: root,
  stdio: 'inherit',
  env: {
    ...process.env,
    LD_PRELOAD: runtimes.join(':'),
    ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=1',
    UBSAN_OPTIONS: 'print_stacktrace=1',
    FULLTUNE_NATIVE: file,
  },
});
process.exit(result.status ?? 1);
