/**
 * Rows of a dataset file, one after another with the place where each stands: .jsonl line by line in bounded memory, .json as one array
 * (or `{"data": [...]}`), .txt as documents of text.
 */

import { closeSync, existsSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { extname } from 'node:path';
import { formatBytes, MIB } from '../base/bytes.ts';
import { FulltuneError } from '../base/errors.ts';

export interface Row {
  readonly value: unknown;
  /** `file:line`, or `file, row n` in a JSON array. */
  readonly where: string;
  /** Bytes of the file read so far. */
  readonly bytesRead: number;
}

export type DatasetKind = 'jsonl' | 'json' | 'txt';

/** A JSON array, and one line or text document, are held whole: this is the most. */
export const LARGEST_WHOLE_BYTES = 512 * MIB;

/** By the file's ending. Errors: E_DATA when it is missing, a folder, empty, or of another kind. */
export function datasetKind(path: string): DatasetKind {
  if (!existsSync(path)) throw new FulltuneError('E_DATA', `there is no dataset '${path}'`, { where: path });
  const stats = statSync(path);
  if (!stats.isFile()) {
    throw new FulltuneError('E_DATA', 'a dataset is a file, not a folder', { where: path, remedy: 'Give a .jsonl, .json or .txt file.' });
  }
  if (stats.size === 0) throw new FulltuneError('E_DATA', 'the dataset is empty: the file has 0 bytes', { where: path, remedy: 'Give a file with rows.' });
  switch (extname(path).toLowerCase()) {
    case '.jsonl':
    case '.ndjson':
      return 'jsonl';
    case '.json':
      return 'json';
    case '.txt':
      return 'txt';
    default:
      throw new FulltuneError('E_DATA', `'${extname(path)}' is not a kind of dataset that can be read`, {
        where: path, remedy: 'Give a .jsonl, .json or .txt file.',
      });
  }
}

/** Text files are one long document or few: they are split by default, rows of other files are cut. */
export function defaultOverlong(datasetPath: string): 'truncate' | 'split' {
  return extname(datasetPath).toLowerCase() === '.txt' ? 'split' : 'truncate';
}

/** A part of a .jsonl file: lines that begin in [start, end). */
export interface ByteSlice {
  readonly start: number;
  readonly end: number;
}

/** `eosToken` on a line of its own separates documents of a .txt file, as `<|endoftext|>` does. Errors: E_DATA naming file and line. */
export function readRows(
  path: string, options: { readonly eosToken?: string | undefined; readonly slice?: ByteSlice | undefined } = {},
): Generator<Row> {
  const kind = datasetKind(path);
  switch (kind) {
    case 'jsonl':
      return readJsonLines(path, options.slice);
    case 'json':
      return readJsonArray(path);
    case 'txt':
      return readTextDocuments(path, options.eosToken);
    default:
      return kind satisfies never;
  }
}

function* readJsonLines(path: string, slice: ByteSlice | undefined): Generator<Row> {
  for (const { text, line, bytesRead } of readLines(path, slice)) {
    if (text.trim() === '') continue;
    const where = `${path}:${line()}`;
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw new FulltuneError('E_DATA', `this line is not JSON: ${messageOf(cause)}`, {
        where, remedy: 'A .jsonl file has one JSON object per line.', cause,
      });
    }
    yield { value, where, bytesRead };
  }
}

function* readJsonArray(path: string): Generator<Row> {
  const { size } = statSync(path);
  if (size > LARGEST_WHOLE_BYTES) {
    const sizes = `this one has ${formatBytes(size)}; the limit is ${formatBytes(LARGEST_WHOLE_BYTES)}`;
    throw new FulltuneError('E_DATA', `a JSON array is read whole, and ${sizes}`, {
      where: path, remedy: `Write it as JSON lines, which stream: jq -c '.[]' ${path} > data.jsonl`,
    });
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(decodeUtf8(readFileSync(path), path));
  } catch (cause) {
    if (cause instanceof FulltuneError) throw cause;
    throw new FulltuneError('E_DATA', `not valid JSON: ${messageOf(cause)}`, {
      where: path, remedy: 'A file of JSON lines must end in .jsonl.', cause,
    });
  }
  const rows: unknown = typeof parsed === 'object' && parsed !== null && 'data' in parsed ? parsed.data : parsed;
  if (!Array.isArray(rows)) {
    throw new FulltuneError('E_DATA', 'this file holds neither an array of rows nor {"data": [rows]}', {
      where: path, remedy: 'Put the rows into brackets, [{…}, {…}], or write one a line into a .jsonl file.',
    });
  }
  for (const [index, value] of rows.entries()) {
    yield { value, where: `${path}, row ${index + 1}`, bytesRead: Math.floor((size * (index + 1)) / rows.length) };
  }
}

const END_OF_TEXT = '<|endoftext|>';

/** Lines up to the next separator make a document, without the line breaks around it. */
function* readTextDocuments(path: string, eosToken: string | undefined): Generator<Row> {
  let lines: string[] = [];
  let characters = 0;
  let firstLine = 1;
  const finish = (bytesRead: number): Row | undefined => {
    const text = lines.join('\n').replace(/^\n+|\n+$/g, '');
    const row: Row | undefined = text === '' ? undefined : { value: { text }, where: `${path}:${firstLine}`, bytesRead };
    lines = [];
    characters = 0;
    return row;
  };
  let read = 0;
  for (const { text, line, bytesRead } of readLines(path, undefined)) {
    read = bytesRead;
    const mark = text.trim();
    if (mark === END_OF_TEXT || (eosToken !== undefined && mark === eosToken)) {
      const row = finish(bytesRead);
      if (row !== undefined) yield row;
      firstLine = line() + 1;
      continue;
    }
    characters += text.length + 1;
    if (characters > LARGEST_WHOLE_BYTES / 2) {
      throw new FulltuneError('E_DATA', 'one document of this file has more than 256 Mi characters', {
        where: `${path}:${firstLine}`, remedy: `Put ${END_OF_TEXT} on a line of its own between documents.`,
      });
    }
    lines.push(text);
  }
  const last = finish(read);
  if (last !== undefined) yield last;
}

interface Line {
  readonly text: string;
  /** Counted from 1 in the whole file, also in a slice of it. */
  line(): number;
  readonly bytesRead: number;
}

/** Lines without their LF or CRLF. */
function* readLines(path: string, slice: ByteSlice | undefined): Generator<Line> {
  const file = openSync(path, 'r');
  try {
    const { size } = statSync(path);
    const start = slice?.start ?? 0;
    const end = slice?.end ?? size;
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    let position = start === 0 ? 0 : start - 1; // one byte earlier tells whether a line begins at `start`
    let skipping = start !== 0;
    let lineStart = position;
    let firstStart = 0;
    let pending: Buffer[] = [];
    let pendingBytes = 0;
    let count = 0;
    let base: number | undefined;
    const emit = (next: number): Line => {
      let bytes = pending.length === 1 ? (pending[0] ?? Buffer.alloc(0)) : Buffer.concat(pending);
      pending = [];
      pendingBytes = 0;
      if (bytes.at(-1) === CR) bytes = bytes.subarray(0, -1);
      count++;
      const number = count;
      const line = (): number => number + (base ??= firstStart === 0 ? 0 : countLines(path, firstStart));
      const text = decodeUtf8(bytes, () => `${path}:${line()}`);
      return { text, line, bytesRead: next - start };
    };
    for (;;) {
      const length = readSync(file, chunk, 0, chunk.length, position);
      if (length === 0) break;
      let from = 0;
      for (;;) {
        const newline = chunk.subarray(0, length).indexOf(LF, from);
        const stop = newline < 0 ? length : newline;
        if (!skipping && stop > from) {
          pending.push(Buffer.from(chunk.subarray(from, stop)));
          pendingBytes += stop - from;
          if (pendingBytes > LARGEST_WHOLE_BYTES) {
            throw new FulltuneError('E_DATA', `one line of this file has more than ${formatBytes(LARGEST_WHOLE_BYTES)}`, { where: path });
          }
        }
        if (newline < 0) break;
        const next = position + newline + 1;
        if (skipping) {
          skipping = false;
          firstStart = next;
        } else {
          yield emit(next);
        }
        lineStart = next;
        if (lineStart >= end) return;
        from = newline + 1;
      }
      position += length;
    }
    if (!skipping && pending.length > 0) yield emit(position);
  } finally {
    closeSync(file);
  }
}

const CHUNK_BYTES = 256 * 1024;
const LF = 0x0a;
const CR = 0x0d;

/** Lines that end before `position`. */
function countLines(path: string, position: number): number {
  const file = openSync(path, 'r');
  try {
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    let lines = 0;
    for (let at = 0; at < position; ) {
      const length = readSync(file, chunk, 0, Math.min(chunk.length, position - at), at);
      if (length === 0) break;
      for (let i = chunk.indexOf(LF); i >= 0 && i < length; i = chunk.indexOf(LF, i + 1)) lines++;
      at += length;
    }
    return lines;
  } finally {
    closeSync(file);
  }
}

/** Takes a byte-order mark away, too. */
const utf8 = new TextDecoder('utf-8', { fatal: true });

function decodeUtf8(bytes: Uint8Array, where: string | (() => string)): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new FulltuneError('E_DATA', 'not valid UTF-8', {
      where: typeof where === 'string' ? where : where(), remedy: 'Convert the file first, for instance: iconv -f latin1 -t utf-8.', cause,
    });
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
