/**
 * `node tools/compare-measured.js rows.jsonl`: predicted / measured memory for every row that worker/measure.py wrote (also .csv), their median and worst
 * error. Exits with 1 where --within SHARE is given and some row is further off.
 */

import { readFileSync } from 'node:fs';
import { formatTable } from '../dist/base/table.js';
import { estimateMemory } from '../dist/torch/estimate-memory.js';
import { caseOfRow } from '../dist/torch/measured-row.js';

const MIB = 2 ** 20;
const [path, flag, limit] = process.argv.slice(2);
if (path === undefined || (flag !== undefined && (flag !== '--within' || !(Number(limit) > 0)))) {
  console.error('usage: node tools/compare-measured.js rows.jsonl|rows.csv [--within 0.1]');
  process.exit(2);
}

const rows = path.endsWith('.csv') ? fromCsv(readFileSync(path, 'utf8')) : readFileSync(path, 'utf8').split('\n').filter((line) => line.trim() !== '').map((line) => JSON.parse(line));
const compared = rows.flatMap((row) => {
  const found = caseOfRow(row);
  if (found === undefined) return [{ row, text: row.notes || 'nothing measured', ratios: [] }];
  const estimate = estimateMemory(found.given);
  // The cuBLAS workspace belongs to CUDA: a CPU has none.
  const unseen = row.gpu === 'CPU' ? estimate.classes.workspace : 0;
  return Object.entries(found.measured).map(([metric, bytes]) => ({ row, metric, predicted: estimate[metric] - unseen, measured: bytes, ratio: (estimate[metric] - unseen) / bytes, phase: estimate.peakPhase }));
});

const judged = compared.filter(({ ratio }) => ratio !== undefined);
console.log(formatTable(compared.map(({ row, metric, predicted, measured, ratio, phase, text }) => [
  row.id, `${row.model} ${row.micro_batch}×${row.seq_len}`, row.dtype, row.checkpointing, row.optimizer, row.loss, row.attention, row.gpu,
  ...(ratio === undefined ? [text] : [metric.replace('Bytes', ''), (predicted / MIB).toFixed(1), (measured / MIB).toFixed(1), ratio.toFixed(3), phase]),
]), { header: ['row', 'model', 'precision', 'recompute', 'optimizer', 'loss', 'attention', 'device', 'metric', 'predicted MiB', 'measured', 'ratio', 'peak'] }));
for (const metric of new Set(judged.map((each) => each.metric))) {
  const errors = judged.filter((each) => each.metric === metric).map(({ ratio }) => Math.abs(ratio - 1)).sort((a, b) => a - b);
  console.log(`${metric.replace('Bytes', '')}: ${errors.length} rows, median error ${(errors[Math.floor(errors.length / 2)] * 100).toFixed(1)} %, worst ${(errors.at(-1) * 100).toFixed(1)} %`);
}
if (limit !== undefined && judged.some(({ ratio }) => Math.abs(ratio - 1) > Number(limit))) process.exit(1);

/** RFC 4180, as Python's csv writes it. */
function fromCsv(text) {
  const table = [[]];
  let cell = '';
  let quoted = false;
  const end = () => {
    table.at(-1).push(cell);
    cell = '';
  };
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted && c === '"' && text[i + 1] === '"') cell += text[++i];
    else if (c === '"') quoted = !quoted;
    else if (!quoted && c === ',') end();
    else if (!quoted && c === '\n') {
      end();
      table.push([]);
    } else if (quoted || c !== '\r') cell += c;
  }
  const [header, ...lines] = table.filter((line) => line.length > 1);
  return lines.map((line) => Object.fromEntries(header.map((name, index) => [name, line[index] ?? ''])));
}
