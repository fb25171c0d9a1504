/** Makes a fresh checkout ready: installs the dependencies when they are missing or not those of package-lock.json, then builds. */

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../', import.meta.url));
const lockFile = join(root, 'package-lock.json');

if (!isInstalled()) {
  // Not `npm ci`: it refuses a lock file that leaves out optional packages of platforms which a registry does not carry.
  console.log('fulltune: npm install');
  const result = spawnSync('npm', ['install', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  if (result.status !== 0) {
    console.error('fulltune: npm install failed; run it by hand to see why');
    process.exit(1);
  }
}
await import('./build.js');

/** Compares versions, not times: a checkout changes the times of files. Packages for other platforms may be absent. */
function isInstalled() {
  const installedFile = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(lockFile) || !existsSync(installedFile)) return false;
  const wanted = JSON.parse(readFileSync(lockFile, 'utf8')).packages;
  const installed = JSON.parse(readFileSync(installedFile, 'utf8')).packages;
  return Object.entries(wanted).every(([path, { version, optional }]) => path === '' || optional === true || installed[path]?.version === version);
}
