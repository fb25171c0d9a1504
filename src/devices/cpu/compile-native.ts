/**
 * Builds the native module with the system's C compiler: every kernel file once per instruction set, the runtime once, one shared
 * object. Objects are named after the hash of everything that went into them, so an unchanged file is never compiled twice.
 * Synchronous, because a device is made synchronously; used by `tools/build.js` and, on first use without a build, by the loader.
 */

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { env } from '../../base/debug.ts';
import { FulltuneError } from '../../base/errors.ts';

/** The package's root: the same distance from `src/devices/cpu` and from `dist/devices/cpu`. */
export const packageRoot = fileURLToPath(new URL('../../../', import.meta.url));

export interface NativeOptions {
  /** Where `fulltune.node` and the objects go. */
  readonly folder: string;
  /** Adds AddressSanitizer and UndefinedBehaviorSanitizer; to be loaded with LD_PRELOAD=libasan. */
  readonly sanitize?: boolean;
}

export interface NativeBuild {
  readonly file: string;
  /** False when the file was up to date. */
  readonly compiled: boolean;
}

interface Target {
  readonly name: string;
  readonly flags: readonly string[];
}

const X64_TARGETS: readonly Target[] = [
  { name: 'baseline', flags: [] },
  { name: 'avx2', flags: ['-mavx2', '-mfma', '-mf16c'] },
  { name: 'avx512', flags: ['-mavx2', '-mfma', '-mf16c', '-mavx512f', '-mavx512bw', '-mavx512dq', '-mavx512vl'] },
];
const ARM64_TARGETS: readonly Target[] = [{ name: 'neon', flags: ['-march=armv8-a'] }];

/** The kernels, compiled once per target. */
const KERNELS = [
  'attention', 'embedding', 'kernels', 'linear_loss', 'loss', 'matmul', 'movement', 'norm', 'offload', 'optimizer', 'optimizer_8bit', 'optimizer_adafactor', 'peak', 'pointwise', 'rotary',
];
/** Everything else, compiled once. */
const RUNTIME = ['binding', 'binding_arena', 'binding_device', 'binding_objects', 'binding_program', 'convert', 'io', 'job', 'memory', 'pool', 'program', 'signatures', 'target'];

const FLAGS = [
  '-O3', '-std=gnu11', '-ffp-contract=off', '-fno-math-errno', '-fno-trapping-math', '-Werror=implicit-function-declaration', '-fPIC', '-pthread', '-fvisibility=hidden',
  '-Wall', '-Wextra', '-Wno-psabi',
];
const SANITIZE_FLAGS = ['-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=undefined', '-fno-omit-frame-pointer'];
/** Compilations at a time: enough to halve the wait, few enough for a laptop's memory. */
const LANES = 2;

interface Plan {
  readonly objects: readonly { readonly object: string; readonly command: readonly string[] }[];
  /** Of everything: sources, flags, compiler. */
  readonly hash: string;
}

/** The hash that names a build of the current sources. Reads the sources, runs nothing. */
export function nativeHash(sanitize = false): string {
  return makePlan({ folder: '', sanitize }).hash;
}

/** Makes `folder/fulltune.node` from `native/` unless it is up to date. Throws E_DEVICE with the compiler's words when that fails. */
export function compileNative(options: NativeOptions): NativeBuild {
  const file = join(options.folder, 'fulltune.node');
  const stamp = join(options.folder, 'fulltune.hash');
  const upToDate = (hash: string): boolean => existsSync(file) && existsSync(stamp) && readFileSync(stamp, 'utf8') === hash;
  const plan = makePlan(options);
  if (upToDate(plan.hash)) return { file, compiled: false };
  makeFolder(join(options.folder, 'objects'));
  const unlock = lock(join(options.folder, 'lock'));
  try {
    if (upToDate(plan.hash)) return { file, compiled: false };
    const missing = plan.objects.filter(({ object }) => !existsSync(object));
    runLanes(missing.map(({ command }) => command));
    for (const { object } of missing) renameSync(`${object}.part`, object);
    link(options, plan, file);
    writeFileSync(stamp, plan.hash);
    const current = new Set(plan.objects.map(({ object }) => object));
    for (const name of readdirSync(join(options.folder, 'objects'))) {
      const object = join(options.folder, 'objects', name);
      if (!current.has(object)) rmSync(object, { force: true });
    }
  } finally {
    unlock();
  }
  return { file, compiled: true };
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (cause) {
    throw new FulltuneError('E_DEVICE', `the kernels must be compiled once and there is no room for them: ${cause instanceof Error ? cause.message : String(cause)}`, {
      where: folder,
      remedy: 'Set FULLTUNE_CACHE to a folder that can be written.',
      cause,
    });
  }
}

function compiler(): string {
  return env.compiler ?? 'cc';
}

function makePlan(options: NativeOptions): Plan {
  const native = join(packageRoot, 'native');
  if (!existsSync(native)) throw new FulltuneError('E_DEVICE', `the C sources are missing`, { where: native, remedy: 'Install the package again.' });
  const targets = process.arch === 'arm64' ? ARM64_TARGETS : X64_TARGETS;
  const headers = readdirSync(native).filter((name) => name.endsWith('.h')).sort();
  const common = createHash('sha256').update([compiler(), process.platform, process.arch, nodeHeaders()].join('\n'));
  for (const name of headers) common.update(name).update(readFileSync(join(native, name)));
  const commonHash = common.digest('hex');
  const whole = createHash('sha256');
  const object = (name: string, suffix: string, extra: readonly string[]): Plan['objects'][number] => {
    const source = join(native, `${name}.c`);
    const flags = [...FLAGS, ...(options.sanitize === true ? SANITIZE_FLAGS : []), ...extra];
    const hash = createHash('sha256').update(commonHash).update(flags.join(' ')).update(readFileSync(source)).digest('hex').slice(0, 20);
    whole.update(hash);
    const file = join(options.folder, 'objects', `${name}${suffix}-${hash}.o`);
    return { object: file, command: [compiler(), ...flags, '-c', source, '-o', `${file}.part`] };
  };
  const objects = [
    ...RUNTIME.map((name) => object(name, '', [`-I${nodeHeaders()}`])),
    ...KERNELS.flatMap((name) => targets.map((target) => object(name, `-${target.name}`, [`-DFT_TARGET=${target.name}`, ...target.flags]))),
  ];
  return { objects, hash: whole.digest('hex') };
}

/** The folder of `node_api.h`, from the npm package `node-api-headers`. */
function nodeHeaders(): string {
  const require = createRequire(import.meta.url);
  return join(require.resolve('node-api-headers/package.json'), '..', 'include');
}

function link(options: NativeOptions, plan: Plan, file: string): void {
  const part = `${file}.${process.pid}.part`;
  const platform = process.platform === 'darwin' ? ['-undefined', 'dynamic_lookup'] : ['-Wl,-z,nodelete', '-Wl,-z,relro', '-Wl,-z,now'];
  const sanitize = options.sanitize === true ? SANITIZE_FLAGS : [];
  runLanes([[compiler(), '-shared', '-pthread', ...sanitize, ...platform, ...plan.objects.map(({ object }) => object), '-o', part, '-lm']]);
  renameSync(part, file);
}

/** Runs commands, `LANES` at a time, from one shell: the only way to do so without leaving synchronous code. */
function runLanes(commands: readonly (readonly string[])[]): void {
  if (commands.length === 0) return;
  const quote = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;
  const lanes = Array.from({ length: Math.min(LANES, commands.length) }, (_, lane) =>
    commands.filter((_, index) => index % LANES === lane).map((words) => words.map(quote).join(' ')).join(' && '));
  const script = [
    ...lanes.map((lane, index) => `{ ${lane}; } & p${index}=$!`),
    'status=0',
    ...lanes.map((_, index) => `wait "$p${index}" || status=$?`),
    'exit $status',
  ].join('\n');
  const result = spawnSync('sh', ['-c', script], { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
  if (result.status === 0) return;
  if (result.status === 127 || result.error !== undefined) {
    throw new FulltuneError('E_DEVICE', `the kernels must be compiled once and there is no C compiler ('${compiler()}')`, {
      remedy: 'Install gcc or clang (Debian, Ubuntu: apt install gcc libc6-dev; Fedora: dnf install gcc; macOS: xcode-select --install), or set CC.',
    });
  }
  throw new FulltuneError('E_DEVICE', `the C compiler failed:\n${`${result.stdout}${result.stderr}`.slice(0, 8000)}`, {
    remedy: 'Use gcc 12, clang 15, or newer; the compiler is taken from CC.',
  });
}

/** Keeps two processes from building into one folder. Returns the function that unlocks. */
function lock(file: string): () => void {
  const nap = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    try {
      writeFileSync(file, String(process.pid), { flag: 'wx' });
      return () => rmSync(file, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      if (isStale(file)) rmSync(file, { force: true });
      else Atomics.wait(nap, 0, 0, 100);
    }
  }
}

/** Whether the process that holds the lock is gone. */
function isStale(file: string): boolean {
  try {
    const holder = Number(readFileSync(file, 'utf8'));
    if (!Number.isInteger(holder) || holder <= 0) return Date.now() - statSync(file).mtimeMs > 5000;
    process.kill(holder, 0);
    return false;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return code === 'ESRCH';
  }
}
