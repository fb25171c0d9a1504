import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { BatchSource, evaluationBatches } from './batches.ts';
import type { BatchOptions, Cursor, MicroBatch, UpdateBatch } from './batches.ts';
import { bucketLengths } from './buckets.ts';
import { TokenFile } from './token-file.ts';
import { TokenFileWriter } from './write-token-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'fulltune-batches-'));
const opened: TokenFile[] = [];
afterAll(() => {
  for (const file of opened) file.close();
  rmSync(folder, { recursive: true });
});

/** Documents of the given lengths; ids tell document and position, every third token is not learned. */
function fileOf(lengths: readonly number[]): TokenFile {
  const path = join(folder, `${opened.length}.bin`);
  const writer = new TokenFileWriter(path);
  lengths.forEach((length, document) => {
    writer.add(
      Array.from({ length }, (_, t) => 1 + document * 100 + t),
      Uint8Array.from({ length }, (_, t) => (t === 0 || (document + t) % 3 === 0 ? 0 : 1)),
    );
  });
  writer.finish({});
  const file = TokenFile.open(path);
  opened.push(file);
  return file;
}

/** The documents that a micro-batch holds, as runs of one documentStart; checks positions, labels and filling on the way. */
function documentsIn(file: TokenFile, batch: MicroBatch, microBatchSize: number): readonly number[] {
  const found: number[] = [];
  let learned = 0;
  for (const array of [batch.ids, batch.labels, batch.positions, batch.documentStart]) expect(array).toHaveLength(microBatchSize * batch.rowLength);
  for (let row = 0; row < microBatchSize; row++) {
    const base = row * batch.rowLength;
    for (let start = 0; start < batch.rowLength; ) {
      let end = start + 1;
      while (end < batch.rowLength && batch.documentStart[base + end] === start) end++;
      const ids = [...batch.ids.subarray(base + start, base + end)];
      const labels = [...batch.labels.subarray(base + start, base + end)];
      expect([...batch.positions.subarray(base + start, base + end)]).toEqual(ids.map((_, t) => t));
      expect(batch.documentStart[base + start]).toBe(start);
      if (ids[0] === 0) {
        expect(ids.every((id) => id === 0)).toBe(true);
        expect(labels.every((label) => label === -100)).toBe(true);
        expect(end).toBe(batch.rowLength);
      } else {
        const document = Math.floor(((ids[0] ?? 0) - 1) / 100);
        const alone = file.read(document);
        expect(ids).toEqual([...alone.ids]);
        expect(labels).toEqual(ids.map((_, t) => (t + 1 < ids.length && alone.trained[t + 1] === 1 ? ids[t + 1] : -100)));
        found.push(document);
      }
      learned += labels.filter((label) => label !== -100).length;
      start = end;
    }
  }
  expect(batch.trainedTokens).toBe(learned);
  return found;
}

const lengthLists = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 60 });
const layouts = fc.record({
  packed: fc.boolean(), shuffle: fc.boolean(), rowsPerUpdate: fc.integer({ min: 1, max: 9 }), microBatchSize: fc.integer({ min: 1, max: 4 }), seed: fc.integer({ min: 0, max: 9 }),
});

function optionsFor(file: TokenFile, layout: Omit<BatchOptions, 'file' | 'rowLengths'>): BatchOptions {
  return { file, rowLengths: layout.packed ? [64] : bucketLengths(file.lengths, 64), ...layout };
}

function epochOf(source: BatchSource): readonly UpdateBatch[] {
  const updates: UpdateBatch[] = [];
  do updates.push(source.next()); while (updates.at(-1)?.endsEpoch !== true);
  return updates;
}

describe('BatchSource', () => {
  it('gives every document once an epoch, labels shifted and never across documents', () => {
    fc.assert(fc.property(lengthLists, layouts, (lengths, layout) => {
      const file = fileOf(lengths);
      const source = new BatchSource(optionsFor(file, layout));
      for (let epoch = 0; epoch < 2; epoch++) {
        const expected = source.updatesPerEpoch;
        const updates = epochOf(source);
        expect(updates).toHaveLength(expected);
        const documents = updates.flatMap((update) => update.microBatches.flatMap((batch) => documentsIn(file, batch, layout.microBatchSize)));
        expect([...documents].sort((a, b) => a - b)).toEqual(lengths.map((_, i) => i));
        expect(updates.reduce((sum, update) => sum + update.rows, 0)).toBe(source.rowsInEpoch(epoch));
        expect(updates.slice(0, -1).every((update) => update.rows === layout.rowsPerUpdate)).toBe(true);
        expect(updates.reduce((sum, update) => sum + update.tokens, 0)).toBe(lengths.reduce((a, b) => a + b, 0));
        expect(updates.reduce((sum, update) => sum + update.trainedTokens, 0)).toBe(file.trainedCounts.reduce((a, b) => a + b, 0));
        for (const update of updates) expect(update.trainedTokens).toBe(update.microBatches.reduce((sum, batch) => sum + batch.trainedTokens, 0));
        expect(updates.map((update) => update.epoch)).toEqual(updates.map((update) => update.epoch).sort((a, b) => a - b));
        expect(updates.at(-1)?.epoch).toBe(epoch + 1);
      }
    }), { numRuns: 60 });
  });

  it('resumes anywhere with the same batches', () => {
    fc.assert(fc.property(lengthLists, layouts, fc.integer({ min: 0, max: 25 }), (lengths, layout, steps) => {
      const file = fileOf(lengths);
      const source = new BatchSource(optionsFor(file, layout));
      for (let i = 0; i < steps; i++) source.next();
      const cursor = JSON.parse(JSON.stringify(source.cursor())) as Cursor;
      const resumed = new BatchSource(optionsFor(file, layout));
      resumed.seek(cursor);
      for (let i = 0; i < 8; i++) {
        expect(resumed.next()).toEqual(source.next());
        expect(resumed.cursor()).toEqual(source.cursor());
      }
      source.seek(cursor);
      expect(source.cursor()).toEqual(cursor);
    }), { numRuns: 40 });
  });

  it('gives the same rows for every size of micro-batch', () => {
    const file = fileOf(Array.from({ length: 40 }, (_, i) => 5 + ((i * 13) % 50)));
    const rowsOf = (microBatchSize: number): readonly string[] => epochOf(new BatchSource(optionsFor(file, { packed: true, shuffle: true, rowsPerUpdate: 4, microBatchSize, seed: 1 })))
      .flatMap((update) => update.microBatches.flatMap((batch) => Array.from({ length: microBatchSize }, (_, row) => batch.ids.slice(row * 64, row * 64 + 64).join(' '))))
      .filter((row) => !row.startsWith('0 '));
    expect(rowsOf(1)).toEqual(rowsOf(4));
    expect(rowsOf(1)).toEqual(rowsOf(3));
  });

  it('orders documents by seed and epoch, or by the file', () => {
    const file = fileOf(Array.from({ length: 30 }, () => 20));
    const order = (shuffle: boolean, seed: number, epoch: number): string => {
      const source = new BatchSource(optionsFor(file, { packed: false, shuffle, rowsPerUpdate: 4, microBatchSize: 2, seed }));
      for (let i = 0; i < epoch; i++) epochOf(source);
      return epochOf(source).flatMap((update) => update.microBatches.flatMap((batch) => documentsIn(file, batch, 2))).join(' ');
    };
    expect(order(false, 1, 0)).toBe(Array.from({ length: 30 }, (_, i) => i).join(' '));
    expect(order(false, 1, 1)).toBe(order(false, 2, 0));
    expect(order(true, 1, 0)).toBe(order(true, 1, 0));
    expect(new Set([order(true, 1, 0), order(true, 1, 1), order(true, 2, 0), order(false, 1, 0)]).size).toBe(4);
  });

  it('groups rows by bucket and fills the last micro-batch of each with ignored rows', () => {
    const file = fileOf([10, 40, 12, 44, 9]);
    const source = new BatchSource({ file, rowLengths: [16, 48], packed: false, rowsPerUpdate: 5, microBatchSize: 2, seed: 1, shuffle: false });
    const { microBatches } = source.next();
    expect(microBatches.map((batch) => batch.rowLength)).toEqual([16, 16, 48]);
    expect(microBatches.map((batch) => documentsIn(file, batch, 2))).toEqual([[0, 2], [4], [1, 3]]);
    expect([...(microBatches[1]?.documentStart.slice(16) ?? [])]).toEqual(Array.from({ length: 16 }, () => 0));
  });

  it('packs hand-written rows as expected', () => {
    const file = fileOf([3, 2]);
    const { microBatches } = new BatchSource({ file, rowLengths: [6], packed: true, rowsPerUpdate: 1, microBatchSize: 1, seed: 1, shuffle: false }).next();
    const batch = microBatches[0];
    expect([...(batch?.ids ?? [])]).toEqual([1, 2, 3, 101, 102, 0]);
    expect([...(batch?.labels ?? [])]).toEqual([2, 3, -100, 102, -100, -100]);
    expect([...(batch?.positions ?? [])]).toEqual([0, 1, 2, 0, 1, 0]);
    expect([...(batch?.documentStart ?? [])]).toEqual([0, 0, 0, 3, 3, 5]);
    expect(batch?.trainedTokens).toBe(3);
  });

  it('refuses a cursor of other data or another layout', () => {
    const file = fileOf([10, 20, 30]);
    const layout = { packed: true, shuffle: true, rowsPerUpdate: 2, microBatchSize: 1, seed: 1 };
    const cursor = new BatchSource(optionsFor(file, layout)).cursor();
    for (const other of [
      optionsFor(file, { ...layout, seed: 2 }), optionsFor(file, { ...layout, packed: false }), optionsFor(file, { ...layout, shuffle: false }),
      { ...optionsFor(file, layout), rowLengths: [60] }, optionsFor(fileOf([10, 20, 31]), layout),
    ]) {
      expect(() => { new BatchSource(other).seek(cursor); }).toThrowError(expect.objectContaining({ code: 'E_CHECKPOINT' }) as Error);
    }
    // How rows are shared out among micro-batches and updates may change.
    new BatchSource(optionsFor(file, { ...layout, rowsPerUpdate: 1, microBatchSize: 2 })).seek(cursor);
  });
});

describe('evaluationBatches', () => {
  it.each([true, false])('gives every document once, in the order of the file (packed: %s)', (packed) => {
    const lengths = Array.from({ length: 50 }, (_, i) => 5 + ((i * 7) % 50));
    const file = fileOf(lengths);
    const rowLengths = packed ? [64] : bucketLengths(file.lengths, 64);
    const documents = [...evaluationBatches(file, { rowLengths, packed, microBatchSize: 3 })].flatMap((batch) => documentsIn(file, batch, 3));
    expect([...documents].sort((a, b) => a - b)).toEqual(lengths.map((_, i) => i));
  });
});
