/** The rooms of the project and who may use whom. A line here changes only together with a record in docs/decisions. */

import { describe, expect, it } from 'vitest';
import { CONFIG_KEYS } from '../src/run/config-schema.ts';
import { TECHNIQUES } from '../src/techniques/index.ts';
import { closure, cycles, importsOf, sourceFiles, withoutComments } from './support/source-files.ts';

const GRAPH_ROOMS = ['base', 'run', 'graph'];
const OP_ROOMS = [...GRAPH_ROOMS, 'ops'];
const COMPILE_ROOMS = [...OP_ROOMS, 'models', 'optimizers', 'techniques', 'memory', 'cost'];
const FILE_ROOMS = ['base', 'run'];

/** Room → rooms that it may import from, besides itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  run: ['base'],
  graph: ['base', 'run'],
  ops: GRAPH_ROOMS,
  models: OP_ROOMS,
  optimizers: OP_ROOMS,
  techniques: [...OP_ROOMS, 'optimizers'],
  memory: OP_ROOMS,
  cost: OP_ROOMS,
  compile: COMPILE_ROOMS,
  planner: [...COMPILE_ROOMS, 'compile'],
  devices: OP_ROOMS,
  files: FILE_ROOMS,
  data: FILE_ROOMS,
  train: [...COMPILE_ROOMS, 'compile', 'devices', 'files', 'data'],
  torch: [...COMPILE_ROOMS, 'files', 'data', 'train'],
  index: [...COMPILE_ROOMS, 'compile', 'planner', 'devices', 'files', 'data', 'train', 'torch'],
  watch: ['base', 'run', 'index'],
  cli: ['base', 'run', 'index', 'watch'],
};

/** The contract of a device and what a planner knows of the cpu, data and interfaces: whoever plans or compiles for a device needs them. */
const DEVICE_CONTRACT = ['src/devices/device.ts', 'src/devices/program.ts', 'src/devices/cpu/cpu-spec.ts'];
const CONTRACT_READERS = ['memory', 'compile', 'planner'];

const NODE_ROOMS = ['files', 'data', 'train', 'torch', 'watch', 'cli'];
/** The story of a step: it reads and writes through other files. */
const WITHOUT_NODE = /^src\/train\/(trainer|run-update|schedule|learning-rate|evaluate|sampler|generate|throughput|event-stream)\.ts$/;

/** Files that are one table, which may be long. */
const TABLES: readonly string[] = [];

const isTest = (path: string): boolean => path.endsWith('.test.ts') || path.includes('/testing/');
const all = sourceFiles('src', /\.ts$/);
const product = all.filter(({ path }) => !isTest(path));
const imports = new Map(product.map((file) => [file.path, file.imports]));

function room(path: string): string {
  return path === 'src/index.ts' ? 'index' : path.split('/')[1]!;
}

function mayImport(from: string, to: string): boolean {
  if (isTest(to)) return false;
  const [here, there] = [room(from), room(to)];
  if (here === there) return here !== 'devices' || sameDevice(from, to);
  return MAY_IMPORT[here]!.includes(there) || (CONTRACT_READERS.includes(here) && DEVICE_CONTRACT.includes(to));
}

/** A device knows the contract and itself, not the other devices. */
function sameDevice(from: string, to: string): boolean {
  const [, , device, inside] = to.split('/');
  return inside === undefined || from.split('/')[2] === device;
}

describe('imports', () => {
  it('are found in every spelling', () => {
    const text = `import { a } from './a.ts';\nimport type {\n  B,\n} from "../b.ts";\nexport * from './c.ts';\nimport 'node:fs';\nconst d = await import('./d.ts');\n`;
    expect(importsOf(text)).toEqual(['./a.ts', '../b.ts', './c.ts', 'node:fs', './d.ts']);
    expect(product.length).toBeGreaterThan(50);
  });

  it('stay within rooms that are in the table', () => {
    expect(product.filter(({ path }) => !(room(path) in MAY_IMPORT)).map(({ path }) => path)).toEqual([]);
  });

  it('run one way', () => {
    const wrong = product.flatMap(({ path, imports: targets }) =>
      targets.filter((target) => target.startsWith('src/') && !mayImport(path, target)).map((target) => `${path} imports ${target}`));
    expect(wrong).toEqual([]);
  });

  it('name files that exist, with their ending', () => {
    const paths = new Set(all.map(({ path }) => path));
    const wrong = product.flatMap(({ path, imports: targets }) => targets.filter((target) => target.startsWith('src/') && !paths.has(target)).map((target) => `${path} imports ${target}`));
    expect(wrong).toEqual([]);
  });

  it('form no cycle', () => {
    expect(cycles(new Map([['a', ['b']], ['b', ['c']], ['c', ['b']]]))).toEqual([['b', 'c', 'b']]);
    expect(cycles(imports).map((chain) => chain.join(' → '))).toEqual([]);
  });

  it('reach node: only from the rooms that touch the machine', () => {
    const wrong = product
      .filter(({ path }) => !path.startsWith('src/devices/cpu/') && (!NODE_ROOMS.includes(room(path)) || WITHOUT_NODE.test(path)))
      .flatMap(({ path, imports: targets }) => targets.filter((target) => target.startsWith('node:')).map((target) => `${path} imports ${target}`));
    expect(wrong).toEqual([]);
  });

  it('of ./planner run in a browser', () => {
    const reached = closure('src/planner/index.ts', imports);
    expect(reached.has('src/compile/compile.ts')).toBe(true);
    expect([...reached].filter((path) => path.startsWith('node:') || /^src\/((files|data|train|cli|watch)\/|devices\/cpu\/(?!cpu-spec|workspace))/.test(path))).toEqual([]);
    const globals = [...reached].filter((path) => path !== 'src/base/debug.ts').filter((path) => {
      const file = product.find((candidate) => candidate.path === path);
      return file !== undefined && /\b(process|Buffer|__dirname|require)\b[.(]/.test(withoutComments(file.text));
    });
    expect(globals).toEqual([]);
  });
});

describe('programs', () => {
  // Every Program has a commitIndex (the compiler sees to it), so whoever builds one must write that name as a key.
  it('are built in compile/ only', () => {
    const builds = /(?<![.\w])commitIndex\b|\bas\s+Program\b|<Program>\s*\{|\.\.\.\s*(?:\w+\.)*program\b/;
    expect(builds.test('return { ...program, name };')).toBe(true);
    expect(builds.test('return { name, commitIndex };')).toBe(true);
    expect(builds.test('if (index >= program.commitIndex) return;')).toBe(false);
    const builders = product.filter(({ text }) => builds.test(withoutComments(text))).map(({ path }) => path);
    expect(builders.filter((path) => !path.startsWith('src/compile/') && path !== 'src/devices/program.ts')).toEqual([]);
    expect(builders.some((path) => path.startsWith('src/compile/'))).toBe(true);
  });
});

describe('settings', () => {
  const claimed = TECHNIQUES.flatMap(({ keys }) => keys);

  it('are claimed by one technique at most', () => {
    expect(claimed.filter((key, index) => claimed.indexOf(key) !== index)).toEqual([]);
    expect(claimed.filter((key) => !CONFIG_KEYS.includes(key))).toEqual([]);
  });

  // A key that nobody reads would be accepted and dropped without a word.
  it('are each read: by the technique that claims them, or else by the program', () => {
    const readers = new Map(CONFIG_KEYS.map((key) => {
      const reads = new RegExp(`\\.${key}\\b|[{,]\\s*${key}\\s*[,:}=]`);
      const places = product.filter(({ path, text }) => room(path) !== 'run' && room(path) !== 'cli' && reads.test(withoutComments(text)));
      return [key, places.map(({ path }) => room(path))];
    }));
    const unread = CONFIG_KEYS.filter((key) => (claimed.includes(key) ? !readers.get(key)!.includes('techniques') : readers.get(key)!.length === 0));
    expect(unread).toEqual([]);
  });
});

describe('files', () => {
  const written = [
    ...product, ...sourceFiles('native', /\.[ch]$/), ...sourceFiles('tools', /\.js$/), ...sourceFiles('examples', /\.js$/), ...sourceFiles('bench', /\.(js|ts)$/),
  ];

  it('begin with a comment that says what they are for', () => {
    expect(written.filter(({ text }) => !/^(#!.*\n)?(\/\*|\/\/)/.test(text)).map(({ path }) => path)).toEqual([]);
  });

  it('have at most 500 lines, tables apart', () => {
    const long = written.map(({ path, text }) => ({ path, lines: text.split('\n').length - 1 })).filter(({ path, lines }) => lines > 500 && !TABLES.includes(path));
    expect(long).toEqual([]);
  });

  it('read the environment in base/debug.ts only', () => {
    const readers = product.filter(({ text }) => /\bprocess\s*\.\s*env\b/.test(withoutComments(text))).map(({ path }) => path);
    expect(readers).toEqual(['src/base/debug.ts']);
  });
});
