/** `--html FILE`: what a plan's memory page says of the run, and writing it. */

import { statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { FulltuneError } from '../base/errors.ts';
import type { DevicePlanResult, PlanResult } from '../index.ts';
import { renderDevicePage } from '../watch/device-page.ts';
import { renderMemoryPage } from '../watch/memory-page.ts';
import { devicePlanFacts, deviceVerdict } from './device-plan-view.ts';
import { planFacts, verdictText } from './memory-view.ts';

/** Before the work: throws E_FILE when the page could not be written there, or would replace something else than a page. */
export function checkPagePath(path: string): void {
  if (isFolder(path)) throw new FulltuneError('E_FILE', `--html '${path}' is a folder`, { where: path, remedy: `Name a file: --html ${path.replace(/[\\/]+$/, '')}/memory.html` });
  if (!/\.html?$/i.test(path)) {
    throw new FulltuneError('E_FILE', `--html '${path}' does not end in .html`, { where: path, remedy: `Write --html ${path}.html, so that no other file is replaced by mistake.` });
  }
  const folder = dirname(path);
  if (!isFolder(folder)) throw new FulltuneError('E_FILE', `the folder '${folder}' of --html does not exist`, { where: path, remedy: 'Make it first, or name another one.' });
}

/** Writes the page of a plan made with `picture: true`. Throws E_FILE, E_DISK. */
export function writeMemoryPage(path: string, result: PlanResult): void {
  if (result.picture === undefined) throw new Error('the plan was made without its picture');
  writePage(path, renderMemoryPage({ title: `Memory plan of ${result.model.name}`, facts: pageFacts(result), report: result.memory, picture: result.picture, frontier: result.frontier, budgetBytes: result.budgetBytes }));
}

/** Writes the page of a plan for GPUs. Throws E_FILE, E_DISK. */
export function writeDevicePage(path: string, result: DevicePlanResult): void {
  const facts = [
    ['verdict', deviceVerdict(result)] as const, ...devicePlanFacts(result),
    ...result.techniques.map(({ key, value, reason }) => [key, `${value} (${reason})`] as const),
    ...result.choices.map(({ key, value, reason }) => [key, `${value}, chosen: ${reason}`] as const),
    ...result.notices.map((notice) => ['note', notice] as const),
    ...result.remedies.map((remedy) => ['to make it fit', remedy] as const),
  ];
  writePage(path, renderDevicePage({ title: `Memory plan of ${result.model.name} on ${result.device.name}`, facts, result }));
}

function writePage(path: string, html: string): void {
  try {
    writeFileSync(path, html);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    const full = code === 'ENOSPC' || code === 'EDQUOT';
    if (!full && !['EACCES', 'EPERM', 'EROFS', 'ENOENT', 'ENAMETOOLONG', 'EISDIR', 'ETXTBSY'].includes(code)) throw error;
    throw new FulltuneError(full ? 'E_DISK' : 'E_FILE', `cannot write the page to '${path}': ${full ? 'no room is left on the disk' : 'not permitted or not possible'} (${code})`, {
      where: path, remedy: 'Name a file in another folder.', cause: error,
    });
  }
}

/** What the run is, for people. */
function pageFacts(result: PlanResult): readonly (readonly [string, string])[] {
  return [
    ['verdict', verdictText(result)],
    ...planFacts(result),
    ...result.techniques.map(({ key, value, reason }): readonly [string, string] => [key, `${value} (${reason})`]),
    ...result.choices.map(({ key, value, reason }): readonly [string, string] => [key, `${value}, chosen: ${reason}`]),
    ...result.notices.map((notice): readonly [string, string] => ['note', notice]),
    ...(result.kind === 'too-small' ? result.remedies.map((remedy): readonly [string, string] => ['to make it fit', remedy]) : []),
  ];
}


function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
