/** Predicted against measured memory, for every public measurement. */

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { GIB } from '../base/bytes.ts';
import { formatTable } from '../base/table.ts';
import { estimateMemory, MEMORY_ERROR } from './estimate-memory.ts';
import { caseOfRow, type MeasuredRow } from './measured-row.ts';
import { MEASURED_MEMORY } from './testing/measured-memory.ts';

const rows = MEASURED_MEMORY.map((row) => {
  const estimate = estimateMemory(row.given);
  const predictedGiB = estimate[row.metric] / GIB;
  return { ...row, estimate, predictedGiB, ratio: predictedGiB / row.measuredGiB };
});

describe('memory', () => {
  it('is within the error bar of every complete public measurement', () => {
    const table = rows.map(({ id, what, metric, predictedGiB, measuredGiB, ratio, missing }) => [id, what, metric.replace('Bytes', ''), predictedGiB.toFixed(2), measuredGiB.toFixed(2), ratio.toFixed(3), missing === null ? '' : `not judged: ${missing}`]);
    console.log(formatTable(table, { header: ['row', 'run', 'metric', 'predicted GiB', 'measured', 'ratio', ''], align: ['left', 'left', 'left', 'right', 'right', 'right', 'left'] }));
    const judged = rows.filter(({ missing }) => missing === null);
    expect(judged.length).toBeGreaterThanOrEqual(14);
    expect(judged.filter(({ ratio }) => Math.abs(ratio - 1) > MEMORY_ERROR).map(({ id, ratio }) => `${id} ${ratio.toFixed(3)}`)).toEqual([]);
  });

  // Rows of worker/measure.py on a CPU, where torch's MemTracker counts live tensors; no cuBLAS there, so its workspace is taken off.
  it('is within the error bar of what was measured on a CPU', () => {
    const lines = readFileSync(new URL('../../bench/results/torch-memory-cpu.jsonl', import.meta.url), 'utf8').trim().split('\n');
    const ratios = lines.map((line) => {
      const { id, given, measured } = caseOfRow(JSON.parse(line) as MeasuredRow)!;
      const { allocatedBytes, classes } = estimateMemory(given);
      return { id, ratio: (allocatedBytes - classes.workspace) / measured.allocatedBytes! };
    });
    expect(ratios.length).toBeGreaterThanOrEqual(6);
    expect(ratios.filter(({ ratio }) => Math.abs(ratio - 1) > MEMORY_ERROR)).toEqual([]);
  });
});
