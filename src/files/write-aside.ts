/**
 * A folder that appears in one piece: written under a hidden name, synced, renamed into place. Whoever looks sees the old folder or the new
 * one, whole, whenever the writer dies.
 *
 *   .NAME.partial-PID   being written, or left by a writer that died
 *   .NAME.old-PID       the former NAME while the new one takes its place; put back when that did not happen
 *   .NAME.removed-PID   being deleted
 */

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';

import { syncFolderNow, syncPath } from './durable.ts';
import { fileError } from './fs-errors.ts';
import { isRunning } from './processes.ts';

/** Points of a write, in order; tests end the process at each. `replacing` occurs only when a folder of that name exists. */
export type WriteStage = 'begun' | 'filled' | 'synced' | 'replacing' | 'renamed' | 'settled' | 'done';

export type OnStage = (stage: WriteStage) => void;

/** Folders that this very process is writing now. */
const active = new Set<string>();

/**
 * Makes `parent/name` by `fill`, which gets the hidden folder's path. Every file in it is synced. A folder that has the name already is
 * replaced. When `fill` throws, what it wrote is removed. Throws E_DISK, E_FILE. Returns the folder's path.
 */
export async function writeFolderAside(options: {
  readonly parent: string;
  readonly name: string;
  readonly fill: (folder: string) => Promise<void>;
  readonly onStage?: OnStage;
}): Promise<string> {
  const { parent, name, fill, onStage = () => undefined } = options;
  await cleanLeftovers(parent);
  const target = join(parent, name);
  const aside = hidden(parent, name, 'partial');
  if (active.has(aside)) throw new Error(`'${target}' is being written already`);
  active.add(aside);
  try {
    mkdirSync(aside);
    onStage('begun');
    await fill(aside);
    onStage('filled');
    await syncFolder(aside);
    onStage('synced');
    await putInPlace(parent, name, aside, onStage);
    onStage('done');
    return target;
  } catch (error) {
    await rm(aside, { recursive: true, force: true });
    throw fileError(error, 'write', target);
  } finally {
    active.delete(aside);
  }
}

/** Deletes `parent/name`: gone at once for all who look, also when the process dies half-way. */
export async function removeFolder(parent: string, name: string): Promise<void> {
  const gone = hidden(parent, name, 'removed');
  try {
    await rm(gone, { recursive: true, force: true });
    renameSync(join(parent, name), gone);
    syncFolderNow(parent);
    await rm(gone, { recursive: true, force: true });
  } catch (error) {
    throw fileError(error, 'remove', join(parent, name));
  }
}

/** Puts back what a dead process had moved out of the way without putting anything there. Cheap; call it before looking for folders. */
export function restoreReplaced(parent: string): void {
  for (const { entry, name, kind } of leftovers(parent)) {
    if (kind === 'old' && !existsSync(join(parent, name))) renameSync(join(parent, entry), join(parent, name));
  }
}

/** Removes what dead processes left. */
export async function cleanLeftovers(parent: string): Promise<void> {
  restoreReplaced(parent);
  for (const { entry } of leftovers(parent)) await rm(join(parent, entry), { recursive: true, force: true });
}

async function putInPlace(parent: string, name: string, aside: string, onStage: OnStage): Promise<void> {
  const target = join(parent, name);
  const old = hidden(parent, name, 'old');
  const replaces = existsSync(target);
  // No await between the two renames: nothing else in this process may see the gap.
  if (replaces) {
    rmSync(old, { recursive: true, force: true });
    renameSync(target, old);
    onStage('replacing');
  }
  try {
    renameSync(aside, target);
  } catch (error) {
    if (replaces) renameSync(old, target);
    throw error;
  }
  onStage('renamed');
  await syncPath(parent, 'folder');
  onStage('settled');
  if (replaces) await rm(old, { recursive: true, force: true });
}

async function syncFolder(folder: string): Promise<void> {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (!statSync(path).isFile()) throw new Error(`'${path}' is not a file: folders written aside are flat`);
    await syncPath(path, 'file');
  }
  await syncPath(folder, 'folder');
}

function hidden(parent: string, name: string, kind: 'partial' | 'old' | 'removed'): string {
  return join(parent, `.${name}.${kind}-${process.pid}`);
}

function leftovers(parent: string): { readonly entry: string; readonly name: string; readonly kind: string }[] {
  return readdirSync(parent).flatMap((entry) => {
    const match = /^\.(checkpoint-\d+|model)\.(partial|old|removed)-(\d+)$/.exec(entry);
    if (match === null) return [];
    const [, name = '', kind = '', pid = ''] = match;
    const mine = Number(pid) === process.pid;
    const inUse = mine ? active.has(join(parent, `.${name}.partial-${pid}`)) : isRunning(Number(pid));
    return inUse ? [] : [{ entry, name, kind }];
  });
}
