/** Writes a token file (layout in token-file.ts) document by document, beside its final name, and renames it when it is complete. */

import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, readSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  bytesOf, checksum, CONTINUES, recordBytes, TOKEN_FILE_HEADER_BYTES, TOKEN_FILE_MAGIC, TOKEN_FILE_VERSION,
} from './token-file.ts';
import type { TokenFile } from './token-file.ts';

export class TokenFileWriter {
  private readonly path: string;
  private readonly asidePath: string;
  private readonly descriptor: number;
  private readonly lengths = new WordList();
  private readonly trainedCounts = new WordList();
  private tokens = 0;
  private position = TOKEN_FILE_HEADER_BYTES;
  private buffer = Buffer.alloc(BUFFER_BYTES);
  private buffered = 0;

  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true });
    this.path = path;
    this.asidePath = `${path}.${process.pid}.tmp`;
    this.descriptor = openSync(this.asidePath, 'w');
  }

  /** `trained` has one byte per id; `continues`: a later part of a document that was split. */
  add(ids: ArrayLike<number>, trained: Uint8Array, options: { readonly continues?: boolean } = {}): void {
    const length = ids.length;
    const bytes = this.reserve(recordBytes(length));
    let count = 0;
    for (let i = 0; i < length; i++) {
      bytes.writeInt32LE(ids[i] ?? 0, 4 * i);
      const learned = trained[i] ?? 0;
      bytes[4 * length + i] = learned;
      count += learned;
    }
    bytes.writeUInt32LE(checksum(bytes.subarray(0, 5 * length)), 5 * length);
    this.lengths.push(options.continues === true ? (length | CONTINUES) >>> 0 : length);
    this.trainedCounts.push(count);
    this.tokens += length;
  }

  /** Copies all documents of another token file behind those written so far. */
  append(other: TokenFile): void {
    for (let i = 0; i < other.documents; i++) {
      const length = other.lengths[i] ?? 0;
      this.lengths.push(other.continuesPrevious(i) ? (length | CONTINUES) >>> 0 : length);
      this.trainedCounts.push(other.trainedCounts[i] ?? 0);
      this.tokens += length;
    }
    this.flush();
    const end = TOKEN_FILE_HEADER_BYTES + other.lengths.reduce((sum, length) => sum + recordBytes(length), 0);
    const source = openSync(other.path, 'r');
    try {
      for (let at = TOKEN_FILE_HEADER_BYTES; at < end; ) {
        const step = readSync(source, this.buffer, 0, Math.min(this.buffer.length, end - at), at);
        this.write(this.buffer.subarray(0, step));
        at += step;
      }
    } finally {
      closeSync(source);
    }
  }

  get documents(): number {
    return this.lengths.length;
  }

  /** Completes the file. */
  finish(summary: unknown): void {
    this.flush();
    const lengths = bytesOf(this.lengths.words());
    const trainedCounts = bytesOf(this.trainedCounts.words());
    const text = Buffer.from(JSON.stringify(summary), 'utf8');
    for (const part of [lengths, trainedCounts, text]) this.write(part);
    const header = Buffer.alloc(TOKEN_FILE_HEADER_BYTES);
    header.write(TOKEN_FILE_MAGIC, 0, 'latin1');
    header.writeUInt32LE(TOKEN_FILE_VERSION, 8);
    header.writeUInt32LE(text.length, 12);
    header.writeDoubleLE(this.lengths.length, 16);
    header.writeDoubleLE(this.tokens, 24);
    createHash('sha256').update(lengths).update(trainedCounts).update(text).digest().copy(header, 32);
    writeAll(this.descriptor, header, 0);
    fsyncSync(this.descriptor);
    closeSync(this.descriptor);
    renameSync(this.asidePath, this.path);
  }

  /** Leaves nothing behind. */
  abandon(): void {
    closeSync(this.descriptor);
    rmSync(this.asidePath, { force: true });
  }

  private reserve(length: number): Buffer {
    if (this.buffered + length > this.buffer.length) {
      this.flush();
      if (length > this.buffer.length) this.buffer = Buffer.alloc(length);
    }
    const part = this.buffer.subarray(this.buffered, this.buffered + length);
    this.buffered += length;
    return part;
  }

  private flush(): void {
    const { buffered } = this;
    this.buffered = 0;
    this.write(this.buffer.subarray(0, buffered));
  }

  private write(bytes: Uint8Array): void {
    writeAll(this.descriptor, bytes, this.position);
    this.position += bytes.length;
  }
}

const BUFFER_BYTES = 1024 * 1024;

function writeAll(descriptor: number, bytes: Uint8Array, position: number): void {
  for (let written = 0; written < bytes.length; ) {
    written += writeSync(descriptor, bytes, written, Math.min(bytes.length - written, 2 ** 30), position + written);
  }
}

/** A growing list of 32-bit words off the JavaScript heap. */
class WordList {
  private store = new Uint32Array(1024);
  length = 0;

  push(word: number): void {
    if (this.length === this.store.length) {
      const larger = new Uint32Array(2 * this.store.length);
      larger.set(this.store);
      this.store = larger;
    }
    this.store[this.length++] = word;
  }

  words(): Uint32Array {
    return this.store.subarray(0, this.length);
  }
}
