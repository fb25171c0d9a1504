import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BatchSource } from '../data/batches.ts';
import { TokenFile } from '../data/token-file.ts';
import { TokenFileWriter } from '../data/write-token-file.ts';
import { newSchedule } from '../train/learning-rate.ts';
import { writeEvaluationRows, writeSchedule } from './schedule-file.ts';

let folder = '';
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'fulltune-schedule-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

interface Line {
  readonly step?: number;
  readonly rows: readonly (readonly number[])[];
  readonly trained?: number;
  readonly cursor?: { readonly epoch: number; readonly row: number };
}
const linesOf = (path: string): readonly Line[] => readFileSync(path, 'utf8').trimEnd().split('\n').slice(1).map((line) => JSON.parse(line) as Line);

/** Ten documents of four tokens; the selection has the odd ones. */
function odd(): TokenFile {
  const writer = new TokenFileWriter(join(folder, 'tokens'));
  for (let document = 0; document < 10; document++) writer.add([document, 1, 2, 3], Uint8Array.of(0, 1, 1, 0));
  writer.finish({});
  return TokenFile.open(join(folder, 'tokens')).select(Uint32Array.of(1, 3, 5, 7, 9));
}

function write(file: TokenFile, firstStep: number, batches = source(file)): readonly Line[] {
  const path = join(folder, `schedule-${firstStep}`);
  writeSchedule(path, {
    file, batches, firstStep, totalSteps: 6, curve: newSchedule(6), learningRate: (step) => step / 8, isDue: (what, { step }) => what === 'save' && step === 6, updatesInEpoch: () => 3,
  });
  return linesOf(path);
}
const source = (file: TokenFile): BatchSource => new BatchSource({ file, rowLengths: [8], packed: true, rowsPerUpdate: 1, microBatchSize: 1, seed: 3, shuffle: true });

describe('a schedule', () => {
  it('has the rows of the updates, as documents of the whole file', () => {
    const file = odd();
    const lines = write(file, 1);
    const batches = source(file);
    for (const { rows, trained } of lines) {
      const update = batches.next();
      const ids = rows.flatMap((row) => row.flatMap((document) => [document, 1, 2, 3]));
      expect([...update.microBatches[0]!.ids].slice(0, ids.length)).toEqual(ids);
      expect(trained).toBe(update.trainedTokens);
    }
    expect(lines.slice(0, 3).flatMap(({ rows }) => rows.flat()).toSorted((a, b) => a - b)).toEqual([1, 3, 5, 7, 9]);
    file.close();
  });

  it('goes on from the cursor of any of its lines with the same rows', () => {
    const file = odd();
    const whole = write(file, 1);
    const batches = source(file);
    batches.seek({ ...whole[3]!.cursor!, layout: batches.cursor().layout });
    expect(write(file, 5, batches)).toEqual(whole.slice(4));
    file.close();
  });

  it('has the rows to evaluate on in the order of the file', () => {
    const file = odd();
    writeEvaluationRows(join(folder, 'evaluation'), file, { packed: true, rowLengths: [8] });
    expect(linesOf(join(folder, 'evaluation')).flatMap(({ rows }) => rows.flat())).toEqual([1, 3, 5, 7, 9]);
    file.close();
  });
});
