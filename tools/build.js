/**
 * Brings dist/ (TypeScript) and build/ (kernels) up to date, and prints a line for each of them that was not. Decides by content, not
 * by times, and reads little when nothing changed.
 */

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('../', import.meta.url));

await buildTypeScript();
await buildNative();

async function buildTypeScript() {
  const stamp = join(root, 'build', 'dist.hash');
  const hash = sourceHash();
  if (existsSync(stamp) && existsSync(join(root, 'dist')) && readFileSync(stamp, 'utf8') === hash) return;
  const started = performance.now();
  rmSync(stamp, { force: true });
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const result = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  if (result.status !== 0) {
    console.error('fulltune: the TypeScript sources do not compile');
    process.exit(1);
  }
  removeStale();
  await import('./write-schema.js');
  mkdirSync(join(root, 'build'), { recursive: true });
  writeFileSync(stamp, hash);
  say('dist/', started);
}

async function buildNative() {
  const started = performance.now();
  const { compileNative } = await import(pathToFileURL(join(root, 'dist', 'devices', 'cpu', 'compile-native.js')).href);
  try {
    const { compiled } = compileNative({ folder: join(root, 'build') });
    if (compiled) say('build/fulltune.node', started);
  } catch (error) {
    console.error(typeof error.toText === 'function' ? error.toText() : error);
    process.exit(1);
  }
}

/** Removes what earlier builds wrote for sources that are gone. */
function removeStale() {
  for (const name of readdirSync(join(root, 'dist'), { recursive: true })) {
    const source = /^(.*)\.(?:d\.ts|js)$/.exec(name)?.[1];
    if (source !== undefined && !['.ts', '.js'].some((ending) => existsSync(join(root, 'src', `${source}${ending}`)))) rmSync(join(root, 'dist', name));
  }
}

/** Everything that decides what tsc writes. */
function sourceHash() {
  const hash = createHash('sha256');
  for (const name of ['tsconfig.json', 'tsconfig.build.json', 'package.json']) hash.update(readFileSync(join(root, name)));
  const sources = readdirSync(join(root, 'src'), { recursive: true })
    .filter((name) => /\.[jt]s$/.test(name) && !name.endsWith('.test.ts'))
    .sort((a, b) => (a < b ? -1 : 1));
  for (const name of sources) hash.update(name).update('\0').update(readFileSync(join(root, 'src', name))).update('\0');
  return hash.digest('hex');
}

function say(what, started) {
  console.log(`fulltune: built ${what} in ${((performance.now() - started) / 1000).toFixed(1)} s`);
}
