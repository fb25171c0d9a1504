/**
 * The folder of one run: `config.yaml`, `plan.json`, `events.jsonl`, `checkpoint-<step>/`, `model/`, and a lock while a process works in it.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, extname, join } from 'node:path';

import { FulltuneError } from '../base/errors.ts';
import type { RunEvent } from '../run/events.ts';
import { parsePlan } from '../run/plan-schema.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import { listCheckpoints } from './checkpoint.ts';
import { writeTextAtomically } from './durable.ts';
import { EVENTS_FILE, readEvents } from './event-log.ts';
import { fileError, lookedFor, systemCode } from './fs-errors.ts';
import { checkUnlocked, LOCK_FILE, lockRun, type RunLock } from './run-lock.ts';

export const CONFIG_FILE = 'config.yaml';
export const PLAN_FILE = 'plan.json';

export interface RunDirectory {
  readonly path: string;
  readonly lock: RunLock;
}

export interface StoredRun {
  readonly path: string;
  /** config.yaml as it was written. */
  readonly configText: string;
  readonly plan: TrainingPlan;
  readonly events: readonly RunEvent[];
}

/**
 * Throws E_RUN, and writes nothing, when `outputDir` cannot take a new run: it is a file, holds another run, or holds anything else. A
 * folder that is absent or empty is fine.
 */
export function checkOutputDirectory(outputDir: string): void {
  const entries = readEntries(outputDir);
  if (entries === undefined) return;
  checkUnlocked(outputDir);
  const content = entries.filter((name) => name !== LOCK_FILE);
  if (content.length === 0) return;
  if (content.some(belongsToRun)) {
    const newest = listCheckpoints(outputDir).at(-1);
    const goOn = newest === undefined ? 'It has no checkpoint to go on from: remove it' : `Go on with it: fulltune resume ${outputDir}`;
    const state = newest === undefined ? '' : `, trained to step ${newest.step}`;
    throw new FulltuneError('E_RUN', `'${outputDir}' holds another run${state}`, { where: outputDir, remedy: `${goOn}, or use another --output-dir.` });
  }
  const some = content.slice(0, 3).join(', ') + (content.length > 3 ? ', …' : '');
  throw new FulltuneError('E_RUN', `'${outputDir}' is not empty and is no run: it has ${some}`, {
    where: outputDir, remedy: 'Use another --output-dir: a run writes only into a folder of its own.',
  });
}

/**
 * Makes and locks the folder of a new run. Without `outputDir` it is `runs/<model>-<dataset>-<n>`, n one more than the largest there is;
 * `model` and `dataset` may be paths or ids. Throws E_RUN as `checkOutputDirectory` does, E_FILE, E_DISK.
 */
export function createRunDirectory(
  outputDir: string | undefined, names: { readonly model: string; readonly dataset: string }, options: { readonly runsFolder?: string } = {},
): RunDirectory {
  const path = outputDir ?? makeNumbered(options.runsFolder ?? 'runs', `${shortName(names.model)}-${shortName(names.dataset, { dropExtension: true })}`);
  if (outputDir !== undefined) {
    checkOutputDirectory(outputDir);
    makeFolder(outputDir, { recursive: true });
  }
  const lock = lockRun(path);
  try {
    checkEmptyOnceLocked(path);
    return { path, lock };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Puts `text` at `directory/name` in one piece. Throws E_DISK, E_FILE. */
export function writeRunFile(directory: string, name: string, text: string): void {
  if (basename(name) !== name) throw new Error(`'${name}' is not a plain file name`);
  writeTextAtomically(join(directory, name), text);
}

/** Reads the files of a run, without locking it. Throws E_RUN when the folder is not a run or they are damaged. */
export async function openRun(directory: string): Promise<StoredRun> {
  const { configText, plan } = readRunFiles(directory);
  return { path: directory, configText, plan: parsePlan(plan, join(directory, PLAN_FILE)), events: await readEvents(directory) };
}

/** Config and plan of a run on any engine, the plan as it stands in its file. Throws E_RUN. */
export function readRunFiles(directory: string): { readonly configText: string; readonly plan: unknown } {
  const entries = readEntries(directory);
  if (entries === undefined) throw new FulltuneError('E_RUN', `there is no folder '${directory}'`, { where: directory, remedy: lookedFor(directory) });
  if (!entries.includes(CONFIG_FILE)) {
    const parent = existsSync(join(directory, '..', CONFIG_FILE));
    throw new FulltuneError('E_RUN', `'${directory}' is not a run: it has no ${CONFIG_FILE}`, {
      where: directory,
      remedy: parent ? 'The run is the folder above it.' : 'Give the --output-dir of a run; the folders of all runs are in runs/ unless you chose otherwise.',
    });
  }
  return { configText: readText(join(directory, CONFIG_FILE)), plan: readPlan(join(directory, PLAN_FILE)) };
}

function readPlan(path: string): unknown {
  try {
    return JSON.parse(readText(path));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new FulltuneError('E_RUN', `'${path}' is not valid JSON: ${error.message}`, { where: path });
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw fileError(error, 'read', path);
    throw new FulltuneError('E_RUN', `the run has no ${basename(path)}`, { where: path });
  }
}

/** Names in a folder, or undefined when there is none. */
function readEntries(directory: string): readonly string[] | undefined {
  try {
    if (!statSync(directory).isDirectory()) throw new FulltuneError('E_RUN', `'${directory}' is a file, not a folder`, { where: directory, remedy: 'A run is a folder: choose another --output-dir.' });
    return readdirSync(directory);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw fileError(error, 'read', directory);
  }
}

/** Between the check and the lock another process may have begun a run here. */
function checkEmptyOnceLocked(directory: string): void {
  const content = readdirSync(directory).filter((name) => !name.startsWith(LOCK_FILE));
  if (content.length > 0) throw new FulltuneError('E_RUN', `'${directory}' was just taken by another run`, { where: directory });
}

function belongsToRun(name: string): boolean {
  return [CONFIG_FILE, PLAN_FILE, EVENTS_FILE, 'model'].includes(name) || /^\.?checkpoint-\d+(\.|$)/.test(name);
}

function makeNumbered(runsFolder: string, stem: string): string {
  makeFolder(runsFolder, { recursive: true });
  const taken = readdirSync(runsFolder)
    .filter((name) => name.startsWith(`${stem}-`) && /^\d{1,9}$/.test(name.slice(stem.length + 1)))
    .map((name) => Number(name.slice(stem.length + 1)));
  for (let n = Math.max(0, ...taken) + 1; ; n++) {
    const path = join(runsFolder, `${stem}-${n}`);
    if (makeFolder(path, { recursive: false })) return path; // else another process was faster
  }
}

/** False when it exists (and `recursive` is off). */
function makeFolder(path: string, options: { readonly recursive: boolean }): boolean {
  try {
    mkdirSync(path, options);
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST' && !options.recursive) return false;
    if (systemCode(error) === 'EEXIST') {
      throw new FulltuneError('E_RUN', `'${path}' is a file, not a folder`, { where: path, remedy: 'A run is a folder: choose another --output-dir.' });
    }
    throw fileError(error, 'create', path);
  }
}

/** `org/name@main` → `name`, `data/my chats.jsonl` → `my-chats`: safe in file names. */
function shortName(pathOrId: string, options: { readonly dropExtension?: boolean } = {}): string {
  const base = basename(pathOrId.replace(/^([\w.-]+(?:\/[\w.-]+)?)@.*$/, '$1').replace(/[\\/]+$/, ''));
  const bare = options.dropExtension === true ? base.slice(0, base.length - extname(base).length) : base;
  return bare.replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[.-]+|[.-]+$/g, '').slice(0, 64) || 'unnamed';
}
