/**
 * Checkpoints of a run: `checkpoint-<step>/`, complete or not there at all, each with `checksums.json` (size and SHA-256 of every file).
 * The finished `model/` is put in place the same way.
 */

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';

import { FulltuneError } from '../base/errors.ts';
import { writeTextAtomically } from './durable.ts';
import { fileError } from './fs-errors.ts';
import { sha256OfFile } from './sha256.ts';
import { parseStrictJson } from './strict-json.ts';
import { removeFolder, restoreReplaced, writeFolderAside, type OnStage } from './write-aside.ts';

export const CHECKSUMS_FILE = 'checksums.json';

export interface Checkpoint {
  readonly step: number;
  readonly path: string;
}

/** Fills a folder with plain files; returns the SHA-256 of those it has hashed while writing. The rest are hashed afterwards. */
export type FolderWriter = (folder: string) => Promise<Readonly<Record<string, string>>>;

interface Checksums {
  readonly version: 1;
  readonly step: number;
  readonly files: Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>;
}

/**
 * Writes `checkpoint-<step>`; one that exists is replaced. Leftovers of dead processes are removed first. On any failure (E_DISK when the
 * disk is full) nothing of the new one stays, and the older ones are untouched.
 */
export async function writeCheckpoint(
  runDirectory: string, step: number, writer: FolderWriter, options: { readonly onStage?: OnStage } = {},
): Promise<Checkpoint & { readonly bytes: number }> {
  let bytes = 0;
  const path = await writeFolderAside({
    parent: runDirectory,
    name: checkpointName(step),
    fill: async (folder) => {
      const checksums = await checksumsOf(folder, step, await writer(folder));
      writeTextAtomically(join(folder, CHECKSUMS_FILE), `${JSON.stringify(checksums, null, 2)}\n`);
      bytes = readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
    },
    ...options,
  });
  return { step, path, bytes };
}

/** Writes `model/`, replacing an older one. */
export async function finishModel(
  runDirectory: string, writer: (folder: string) => Promise<unknown>, options: { readonly onStage?: OnStage } = {},
): Promise<string> {
  return writeFolderAside({ parent: runDirectory, name: 'model', fill: async (folder) => void await writer(folder), ...options });
}

/** Complete checkpoints, oldest first. */
export function listCheckpoints(runDirectory: string): readonly Checkpoint[] {
  return checkpointFolders(runDirectory).filter(({ path }) => existsSync(join(path, CHECKSUMS_FILE)));
}

/**
 * Compares every file with its recorded size, then with its SHA-256. Throws E_CHECKPOINT naming the file, what was expected and what was
 * found. Returns the checkpoint's bytes, without checksums.json.
 */
export async function verifyCheckpoint(path: string): Promise<{ readonly step: number; readonly bytes: number }> {
  const { step, files } = readChecksums(path);
  let total = 0;
  for (const [name, { bytes }] of Object.entries(files)) {
    const stats = statSync(join(path, name), { throwIfNoEntry: false });
    if (stats === undefined) throw damaged(path, `'${name}' is missing`);
    if (!stats.isFile()) throw damaged(path, `'${name}' is not a file`);
    if (stats.size !== bytes) throw damaged(path, `'${name}' has ${stats.size} bytes; ${bytes} were written`);
    total += bytes;
  }
  for (const [name, { sha256 }] of Object.entries(files)) {
    const found = await sha256OfFile(join(path, name));
    if (found !== sha256) throw damaged(path, `'${name}' has the SHA-256 ${found}; ${sha256} was written`);
  }
  return { step, bytes: total };
}

/**
 * The newest checkpoint, or undefined when the run has none. With `verify`, a damaged one is refused by E_CHECKPOINT, which offers the newest
 * sound one before it; without, only its checksums.json must be there.
 */
export async function newestCheckpoint(runDirectory: string, options: { readonly verify: boolean }): Promise<Checkpoint | undefined> {
  const newest = checkpointFolders(runDirectory).at(-1);
  if (newest === undefined) return undefined;
  try {
    if (options.verify) await verifyCheckpoint(newest.path);
    else readChecksums(newest.path);
    return newest;
  } catch (error) {
    if (!(error instanceof FulltuneError)) throw error;
    const before = await newestSound(checkpointFolders(runDirectory).slice(0, -1));
    const remedy = before === undefined
      ? 'The run has no other sound checkpoint; start it anew with another --output-dir.'
      : `Go on from the one before it: fulltune resume ${runDirectory} --resume-from-checkpoint ${basename(before.path)}`;
    throw new FulltuneError('E_CHECKPOINT', error.message, { where: newest.path, remedy, cause: error });
  }
}

/** The checkpoint that `--resume-from-checkpoint` names (`checkpoint-40`, its path, or `40`), verified. Throws E_CHECKPOINT. */
export async function namedCheckpoint(runDirectory: string, name: string): Promise<Checkpoint> {
  const wanted = basename(name).replace(/^checkpoint-/, '');
  const all = checkpointFolders(runDirectory);
  const found = all.find(({ step }) => String(step) === wanted);
  if (found === undefined) {
    const names = all.map(({ path }) => basename(path)).join(', ');
    throw new FulltuneError('E_CHECKPOINT', `'${runDirectory}' has no '${name}'; it has ${names === '' ? 'no checkpoint' : names}`, { where: runDirectory });
  }
  await verifyCheckpoint(found.path);
  return found;
}

/** Removes the oldest, so that `keep` stay. The newest complete one is never removed, nor are the steps in `protect` (the best one). */
export async function rotateCheckpoints(runDirectory: string, keep: number, options: { readonly protect?: readonly number[] } = {}): Promise<readonly Checkpoint[]> {
  const complete = listCheckpoints(runDirectory);
  const surplus = complete
    .slice(0, Math.max(0, complete.length - Math.max(1, keep)))
    .filter(({ step }) => options.protect?.includes(step) !== true);
  for (const { path } of surplus) await removeFolder(runDirectory, basename(path));
  return surplus;
}

/** Removes all checkpoints after `step`: a run resumed from an earlier one must not find them later as its newest. */
export async function discardCheckpointsAfter(runDirectory: string, step: number): Promise<readonly Checkpoint[]> {
  const later = checkpointFolders(runDirectory).filter((checkpoint) => checkpoint.step > step);
  for (const { path } of later) await removeFolder(runDirectory, basename(path));
  return later;
}

function checkpointName(step: number): string {
  if (!Number.isSafeInteger(step) || step < 0) throw new Error(`a checkpoint cannot have the step ${step}`);
  return `checkpoint-${step}`;
}

/** All folders that are named like checkpoints, whatever is in them, by step. */
function checkpointFolders(runDirectory: string): Checkpoint[] {
  try {
    restoreReplaced(runDirectory);
    return readdirSync(runDirectory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && /^checkpoint-(0|[1-9]\d{0,14})$/.test(entry.name))
      .map((entry) => ({ step: Number(entry.name.slice('checkpoint-'.length)), path: join(runDirectory, entry.name) }))
      .sort((a, b) => a.step - b.step);
  } catch (error) {
    throw fileError(error, 'read', runDirectory);
  }
}

async function newestSound(checkpoints: readonly Checkpoint[]): Promise<Checkpoint | undefined> {
  for (const checkpoint of checkpoints.toReversed()) {
    try {
      await verifyCheckpoint(checkpoint.path);
      return checkpoint;
    } catch (error) {
      if (!(error instanceof FulltuneError)) throw error;
    }
  }
  return undefined;
}

async function checksumsOf(folder: string, step: number, known: Readonly<Record<string, string>>): Promise<Checksums> {
  const names = readdirSync(folder).sort();
  const unknown = Object.keys(known).find((name) => !names.includes(name));
  if (unknown !== undefined) throw new Error(`the writer of checkpoint ${step} gave a checksum of '${unknown}', which it did not write`);
  const files: [string, { bytes: number; sha256: string }][] = [];
  for (const name of names) {
    const path = join(folder, name);
    files.push([name, { bytes: statSync(path).size, sha256: known[name] ?? await sha256OfFile(path) }]);
  }
  return { version: 1, step, files: Object.fromEntries(files) };
}

function readChecksums(path: string): Checksums {
  const file = join(path, CHECKSUMS_FILE);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw damaged(path, `${CHECKSUMS_FILE} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
  let json: unknown;
  try {
    json = parseStrictJson(text);
  } catch (error) {
    throw damaged(path, `${CHECKSUMS_FILE} is not valid JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!isChecksums(json)) throw damaged(path, `${CHECKSUMS_FILE} does not list the files with their bytes and sha256`);
  if (basename(path) !== `checkpoint-${json.step}`) throw damaged(path, `${CHECKSUMS_FILE} belongs to step ${json.step}`);
  return json;
}

function isChecksums(json: unknown): json is Checksums {
  if (!isObject(json) || json['version'] !== 1 || typeof json['step'] !== 'number' || !isObject(json['files'])) return false;
  const files = Object.entries(json['files']);
  return files.length > 0 && files.every(([name, entry]) => /^[^/\\\0]+$/.test(name) && name !== '..' && name !== '.'
    && isObject(entry) && Number.isSafeInteger(entry['bytes']) && typeof entry['sha256'] === 'string');
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function damaged(path: string, what: string): FulltuneError {
  return new FulltuneError('E_CHECKPOINT', `checkpoint '${path}' is damaged: ${what}`, { where: path });
}
