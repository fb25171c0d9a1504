/** Writing so that it survives a crash: fsync of files and folders, and text files replaced in one piece. */

import { closeSync, fsync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';

import { fileError } from './fs-errors.ts';

const fsyncAsync = promisify(fsync);

/** Waits until the content of a file, or the list of entries of a folder, is on the disk. */
export async function syncPath(path: string, kind: 'file' | 'folder'): Promise<void> {
  // Windows cannot open folders, and orders its own metadata.
  if (kind === 'folder' && process.platform === 'win32') return;
  const file = openSync(path, kind === 'file' && process.platform === 'win32' ? 'r+' : 'r');
  try {
    await fsyncAsync(file);
  } finally {
    closeSync(file);
  }
}

/** As `syncPath` of a folder, without letting anything else run in between. */
export function syncFolderNow(path: string): void {
  if (process.platform === 'win32') return;
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Writes all of `bytes` at the file's position: `writeSync` may write less than it is given. */
export function writeFully(file: number, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.byteLength;) {
    written += writeSync(file, bytes, written, bytes.byteLength - written);
  }
}

/** Puts `text` at `path`: whoever opens it sees the old content or the new, also after a crash. Throws E_DISK, E_FILE. */
export function writeTextAtomically(path: string, text: string): void {
  const aside = join(dirname(path), `.${basename(path)}.partial-${process.pid}`);
  try {
    const file = openSync(aside, 'w');
    try {
      writeFully(file, Buffer.from(text, 'utf8'));
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(aside, path);
    syncFolderNow(dirname(path));
  } catch (error) {
    rmSync(aside, { force: true });
    throw fileError(error, 'write', path);
  }
}
