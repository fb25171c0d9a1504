/**
 * From what a user writes after --model or --dataset to a path. Hub ids are looked up in the local Hugging Face cache, laid out as the
 * Python client does (`models--org--name/refs/<revision>` → `snapshots/<commit>/`); nothing is ever fetched.
 */

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { extname, join } from 'node:path';

import { env } from '../base/debug.ts';
import { FulltuneError } from '../base/errors.ts';
import { fileError, lookedFor } from './fs-errors.ts';

export interface HubOptions {
  /** Default: HF_HUB_CACHE, HF_HOME/hub, or ~/.cache/huggingface/hub. */
  readonly cacheFolder?: string;
}

interface HubId {
  readonly name: string;
  readonly revision: string | undefined;
}

const DATA_EXTENSIONS = ['.jsonl', '.json', '.txt'];

/**
 * The folder of a model: `idOrPath` itself when it is a folder with a config.json, else the snapshot of `org/name` or `org/name@revision` in
 * the cache. Throws E_MODEL (not a model's folder), E_HUB (not in the cache; prints the `hf download` line).
 */
export function resolveModelPath(idOrPath: string, options: HubOptions = {}): string {
  const kind = kindOf(idOrPath);
  if (kind === 'folder') return checkModelFolder(idOrPath);
  if (kind === 'file') {
    throw new FulltuneError('E_MODEL', `'${idOrPath}' is a file; a model is a folder with config.json, weights and tokenizer`, {
      where: idOrPath,
      remedy: /\.gguf$/i.test(idOrPath) ? 'GGUF cannot be trained: use the safetensors version of the model.' : 'Give the folder that the file is in.',
    });
  }
  const id = parseHubId(idOrPath);
  if (id === undefined) throw new FulltuneError('E_MODEL', `there is no folder '${idOrPath}'`, { where: idOrPath, remedy: lookedFor(idOrPath) });
  const snapshot = findSnapshot('model', id, options);
  if (snapshot !== undefined && existsSync(join(snapshot, 'config.json'))) return snapshot;
  throw notInCache('model', idOrPath, id, options, snapshot === undefined ? 'is not in' : 'is incomplete (no config.json) in');
}

/**
 * The file of a dataset: `path` itself, or the one .jsonl, .json or .txt file of a folder or of a dataset in the cache. Throws E_DATA (no such
 * file, or several), E_HUB (not in the cache; prints the `hf download` line).
 */
export function resolveDatasetPath(path: string, options: HubOptions = {}): string {
  const kind = kindOf(path);
  if (kind === 'file') return path;
  if (kind === 'folder') return onlyDataFile(path);
  const id = DATA_EXTENSIONS.includes(extname(path)) ? undefined : parseHubId(path.replace(/^datasets--([^-].*?)--/, '$1/'));
  if (id === undefined) throw new FulltuneError('E_DATA', `there is no file '${path}'`, { where: path, remedy: lookedFor(path) });
  const snapshot = findSnapshot('dataset', id, options);
  if (snapshot !== undefined) return onlyDataFile(snapshot);
  throw notInCache('dataset', path, id, options, 'is not in');
}

function kindOf(path: string): 'file' | 'folder' | 'absent' {
  try {
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats === undefined) return 'absent';
    return stats.isDirectory() ? 'folder' : 'file';
  } catch (error) {
    throw fileError(error, 'read', path);
  }
}

function checkModelFolder(folder: string): string {
  if (existsSync(join(folder, 'config.json'))) return folder;
  const inside = ['model', ...readdirSync(folder)].find((name) => existsSync(join(folder, name, 'config.json')));
  throw new FulltuneError('E_MODEL', `'${folder}' has no config.json, so it is not a model's folder`, {
    where: folder,
    remedy: inside === undefined ? 'Give a folder in Hugging Face format.' : `Did you mean ${join(folder, inside)}?`,
  });
}

function onlyDataFile(folder: string): string {
  const files = readdirSync(folder).filter((name) => DATA_EXTENSIONS.includes(extname(name)) && kindOf(join(folder, name)) === 'file').sort();
  const [only] = files;
  if (only !== undefined && files.length === 1) return join(folder, only);
  throw new FulltuneError('E_DATA', files.length === 0
    ? `'${folder}' has no ${DATA_EXTENSIONS.join(', ')} file`
    : `'${folder}' has ${files.length} files that could be the dataset: ${files.slice(0, 5).join(', ')}${files.length > 5 ? ', …' : ''}`, {
    where: folder, remedy: 'Give the path of the file itself.',
  });
}

/** `name` or `org/name`, with `@revision` if one is meant; undefined for what can only be a path. */
function parseHubId(text: string): HubId | undefined {
  const match = /^((?:[A-Za-z0-9_][\w.-]*\/)?[A-Za-z0-9_][\w.-]*)(?:@([\w.-]+(?:\/[\w.-]+)*))?$/.exec(text);
  const name = match?.[1];
  const revision = match?.[2];
  if (name === undefined || /--|\.\./.test(name) || revision?.split('/').some((part) => /^\.+$/.test(part))) return undefined;
  return { name, revision };
}

function cacheFolderOf(options: HubOptions): string {
  return options.cacheFolder ?? env.hubCache ?? join(homedir(), '.cache', 'huggingface', 'hub');
}

/** The folder of the id's commit: `revision` is a branch, a tag or a full commit id; default main. */
function findSnapshot(kind: 'model' | 'dataset', id: HubId, options: HubOptions): string | undefined {
  const repository = join(cacheFolderOf(options), `${kind}s--${id.name.replaceAll('/', '--')}`);
  const revision = id.revision ?? 'main';
  const reference = join(repository, 'refs', revision);
  const commit = kindOf(reference) === 'file' ? readFileSync(reference, 'utf8').trim() : revision;
  if (!/^[0-9a-f]{4,64}$/.test(commit)) return undefined;
  const snapshot = join(repository, 'snapshots', commit);
  return kindOf(snapshot) === 'folder' ? snapshot : undefined;
}

function notInCache(kind: 'model' | 'dataset', text: string, id: HubId, options: HubOptions, how: string): FulltuneError {
  const revision = id.revision === undefined ? '' : ` --revision ${id.revision}`;
  const type = kind === 'model' ? '' : '--repo-type dataset ';
  return new FulltuneError('E_HUB', `there is no folder '${text}', and the ${kind} ${how} the Hugging Face cache '${cacheFolderOf(options)}'`, {
    where: text, remedy: `If it is a Hub id, download it once: hf download ${type}${id.name}${revision}`,
  });
}
