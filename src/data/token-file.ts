/**
 * The tokenised dataset on disk: written once by a stream, read one document at a time by pread, never mapped and never whole in memory.
 * Little-endian:
 *
 *   0   8  'FTTOKENS'
 *   8   4  version (1)
 *   12  4  bytes of the summary
 *   16  8  documents (f64)
 *   24  8  tokens (f64)
 *   32 32  SHA-256 of everything from the lengths to the end
 *   64     documents, each: ids i32[n], trained u8[n], checksum u32 (of the bytes before it)
 *   …      lengths u32[documents]; bit 31: the document continues the one before it (a split text)
 *   …      trained tokens u32[documents]
 *   …      summary, JSON
 *
 * Lengths and summary are checked when the file is opened, a document when it is read.
 */

import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { FulltuneError } from '../base/errors.ts';

export const TOKEN_FILE_MAGIC = 'FTTOKENS';
export const TOKEN_FILE_VERSION = 1;
export const TOKEN_FILE_HEADER_BYTES = 64;
export const CONTINUES = 0x8000_0000;

export interface TokenDocumentData {
  /** Token ids, [n]. */
  readonly ids: Int32Array;
  /** 1 where the token is learned, [n]; the first is 0. */
  readonly trained: Uint8Array;
}

interface Content {
  readonly path: string;
  readonly descriptor: number;
  /** Set once, by any selection of the file. */
  closed: boolean;
  readonly lengths: Uint32Array;
  readonly trainedCounts: Uint32Array;
  /** One byte per document: 1 where it continues the one before it. */
  readonly continues: Uint8Array;
  /** Tokens before every 64th document. */
  readonly tokensBefore: Float64Array;
  readonly summary: unknown;
}

const STRIDE = 64;

export class TokenFile {
  readonly path: string;
  /** Tokens of each document. */
  readonly lengths: Uint32Array;
  /** Learned tokens of each document. */
  readonly trainedCounts: Uint32Array;
  /** What the writer put beside the documents; the same for every selection of a file. */
  readonly summary: unknown;
  private readonly content: Content;
  private readonly selection: Uint32Array | undefined;

  private constructor(content: Content, selection: Uint32Array | undefined) {
    this.path = content.path;
    this.summary = content.summary;
    this.content = content;
    this.selection = selection;
    this.lengths = selection === undefined ? content.lengths : selection.map((index) => content.lengths[index] ?? 0);
    this.trainedCounts = selection === undefined ? content.trainedCounts : selection.map((index) => content.trainedCounts[index] ?? 0);
  }

  /** Errors: E_FILE when the file is missing, truncated, damaged or of another version. */
  static open(path: string): TokenFile {
    return new TokenFile(readContent(path), undefined);
  }

  get documents(): number {
    return this.lengths.length;
  }

  /** A part of the file as a file of its own, in the order of `documents`. Closing either closes both. */
  select(documents: Uint32Array): TokenFile {
    const { selection } = this;
    return new TokenFile(this.content, selection === undefined ? documents : documents.map((index) => selection[index] ?? 0));
  }

  /** The place in the whole file of a document of this selection. */
  position(index: number): number {
    return this.selection?.[index] ?? index;
  }

  /** Whether a document continues the one before it. */
  continuesPrevious(index: number): boolean {
    return this.content.continues[this.selection?.[index] ?? index] === 1;
  }

  /** Errors: E_FILE when the document is damaged. */
  read(index: number): TokenDocumentData {
    const { content } = this;
    const position = this.selection === undefined ? index : (this.selection[index] ?? content.lengths.length);
    const length = content.lengths[position];
    if (length === undefined) throw new RangeError(`document ${index} of ${this.documents}`);
    let tokens = content.tokensBefore[Math.floor(position / STRIDE)] ?? 0;
    for (let i = position - (position % STRIDE); i < position; i++) tokens += content.lengths[i] ?? 0;
    const bytes = readExactly(content.descriptor, recordBytes(length), TOKEN_FILE_HEADER_BYTES + tokens * 5 + position * 4, content.path);
    const payload = bytes.subarray(0, 5 * length);
    if (checksum(payload) !== bytes.readUInt32LE(5 * length)) {
      throw damaged(content.path, `document ${position + 1} is damaged`);
    }
    return {
      ids: new Int32Array(bytes.buffer, bytes.byteOffset, length),
      trained: new Uint8Array(bytes.buffer, bytes.byteOffset + 4 * length, length),
    };
  }

  close(): void {
    if (this.content.closed) return;
    this.content.closed = true;
    closeSync(this.content.descriptor);
  }
}

export function recordBytes(tokens: number): number {
  return 5 * tokens + 4;
}

/** FNV-1a over 32-bit words and the bytes left over. */
export function checksum(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const whole = bytes.length - (bytes.length % 4);
  for (let i = 0; i < whole; i += 4) hash = Math.imul(hash ^ words.getUint32(i, true), 0x01000193);
  for (let i = whole; i < bytes.length; i++) hash = Math.imul(hash ^ (bytes[i] ?? 0), 0x01000193);
  // FNV's low bits do not depend on high input bits: fold them in.
  return (hash ^ (hash >>> 15)) >>> 0;
}

function readContent(path: string): Content {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch (cause) {
    throw new FulltuneError('E_FILE', 'the token file cannot be opened', { where: path, cause });
  }
  try {
    const header = readExactly(descriptor, TOKEN_FILE_HEADER_BYTES, 0, path);
    if (header.toString('latin1', 0, 8) !== TOKEN_FILE_MAGIC) throw damaged(path, 'this is not a token file');
    const version = header.readUInt32LE(8);
    if (version !== TOKEN_FILE_VERSION) throw damaged(path, `this token file has version ${version}, not ${TOKEN_FILE_VERSION}`);
    const summaryBytes = header.readUInt32LE(12);
    const documents = header.readDoubleLE(16);
    const tokens = header.readDoubleLE(24);
    const tailOffset = TOKEN_FILE_HEADER_BYTES + tokens * 5 + documents * 4;
    const { size } = fstatSync(descriptor);
    const whole = Number.isSafeInteger(documents) && Number.isSafeInteger(tokens) && documents >= 0 && tokens >= 0;
    if (!whole || tailOffset + documents * 8 + summaryBytes !== size) {
      throw damaged(path, `the token file has ${size} bytes, which its header does not agree with`);
    }
    const lengths = readWords(descriptor, documents, tailOffset, path);
    const trainedCounts = readWords(descriptor, documents, tailOffset + 4 * documents, path);
    const summary = readExactly(descriptor, summaryBytes, tailOffset + 8 * documents, path);
    const hash = createHash('sha256').update(bytesOf(lengths)).update(bytesOf(trainedCounts)).update(summary).digest();
    if (!hash.equals(header.subarray(32, 64))) throw damaged(path, "the token file's table is damaged");

    const continues = new Uint8Array(documents);
    const tokensBefore = new Float64Array(Math.ceil(documents / STRIDE));
    let before = 0;
    for (let i = 0; i < documents; i++) {
      if (i % STRIDE === 0) tokensBefore[i / STRIDE] = before;
      const length = lengths[i] ?? 0;
      continues[i] = length >>> 31;
      lengths[i] = length & ~CONTINUES;
      before += lengths[i] ?? 0;
    }
    const parsed: unknown = JSON.parse(summary.toString('utf8'));
    return { path, descriptor, closed: false, lengths, trainedCounts, continues, tokensBefore, summary: parsed };
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

function readWords(descriptor: number, count: number, position: number, path: string): Uint32Array {
  const words = new Uint32Array(count);
  fill(descriptor, bytesOf(words), position, path);
  return words;
}

export function bytesOf(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}

function readExactly(descriptor: number, length: number, position: number, path: string): Buffer {
  const bytes = Buffer.from(new ArrayBuffer(length));
  fill(descriptor, bytes, position, path);
  return bytes;
}

function fill(descriptor: number, bytes: Uint8Array, position: number, path: string): void {
  let filled = 0;
  while (filled < bytes.length) {
    const step = readSync(descriptor, bytes, filled, Math.min(bytes.length - filled, 2 ** 30), position + filled);
    if (step === 0) throw damaged(path, 'the token file is truncated');
    filled += step;
  }
}

function damaged(path: string, message: string): FulltuneError {
  return new FulltuneError('E_FILE', message, { where: path, remedy: 'Delete it: it is written anew from the dataset.' });
}
