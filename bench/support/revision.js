/** Builds another revision in a temporary git worktree, and keeps what was built under build/bench, so that it is built once. */

import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));

/**
 * Something to measure: where its modules lie, and the environment of processes that use them.
 * @typedef {object} Build
 * @property {string} name
 * @property {string} dist folder
 * @property {Record<string, string>} env
 */

/** @type {Build} */
export const workingTree = { name: 'fulltune', dist: join(root, 'dist'), env: {} };

/**
 * @param {string} revision
 * @returns {Build}
 */
export function buildRevision(revision) {
  const git = (/** @type {string[]} */ ...args) => execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim();
  const commit = git('rev-parse', '--verify', '--short=12', `${revision}^{commit}`);
  const folder = join(root, 'build', 'bench', 'revisions', commit);
  if (!existsSync(folder)) {
    const scratch = mkdtempSync(join(tmpdir(), 'fulltune-revision-'));
    const tree = join(scratch, 'tree');
    git('worktree', 'add', '--detach', '--quiet', tree, commit);
    try {
      symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'));
      execFileSync(process.execPath, ['tools/build.js'], { cwd: tree, stdio: ['ignore', 'inherit', 'inherit'] });
      const fresh = `${folder}.${process.pid}`;
      mkdirSync(fresh, { recursive: true });
      for (const name of ['dist', 'build', 'package.json']) cpSync(join(tree, name), join(fresh, name), { recursive: true });
      renameSync(fresh, folder);
    } finally {
      git('worktree', 'remove', '--force', tree);
      rmSync(scratch, { recursive: true, force: true });
    }
  }
  return { name: `fulltune ${commit}`, dist: join(folder, 'dist'), env: { FULLTUNE_NATIVE: join(folder, 'build', 'fulltune.node') } };
}

/**
 * The working tree, and the other revision if one is asked for.
 * @param {import('./options.js').Options} options
 */
export function buildsOf({ against }) {
  return against === undefined ? [workingTree] : [workingTree, buildRevision(against)];
}
