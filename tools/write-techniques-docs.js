/**
 * Brings the tables of docs/techniques.md up to date: the techniques from their table, the measured ladder from bench/results.
 *
 *     npm run build && node tools/write-techniques-docs.js
 */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { techniquesReference } from '../dist/planner/reference.js';

const path = fileURLToPath(new URL('../docs/techniques.md', import.meta.url));
const ladder = fileURLToPath(new URL('../bench/results/memory-ladder.jsonl', import.meta.url));

/** Puts `text` between the two markers called `name`. */
function replaceBlock(page, name, text) {
  const [begin, end] = [`<!-- begin ${name} -->`, `<!-- end ${name} -->`];
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from === -1 || to < from) throw new Error(`docs/techniques.md has no block '${name}'`);
  return `${page.slice(0, from + begin.length)}\n${text.trim()}\n${page.slice(to)}`;
}

/** The last result of each rung, in the order of the last run. */
function measured() {
  if (!existsSync(ladder)) return 'No results are stored: `npm run bench -- memory ladder`.';
  const byLabel = new Map();
  for (const line of readFileSync(ladder, 'utf8').trim().split('\n').map((text) => JSON.parse(text))) {
    byLabel.delete(line.label);
    byLabel.set(line.label, line);
  }
  const lines = [...byLabel.values()];
  const [first] = lines;
  const gib = (bytes) => (bytes / 2 ** 30).toFixed(2);
  const seconds = (ms) => (ms / 1000).toFixed(1);
  const rows = lines.map(({ label, plannedBytes, peakBytes, predictedStepMs, medianStepMs, tokensPerSecond }) =>
    `| ${label} | ${gib(plannedBytes)} | ${gib(peakBytes)} | ${(peakBytes / first.peakBytes).toFixed(2)} | ${predictedStepMs === null ? '' : seconds(predictedStepMs)} | ${seconds(medianStepMs)} | ${Math.round(tokensPerSecond)} | ${(medianStepMs / first.medianStepMs).toFixed(2)} |`);
  return [
    '| run | planned GiB | measured GiB | share | predicted s | measured s | tokens/s | time |',
    '|---|---|---|---|---|---|---|---|',
    ...rows, '', `${first.cpu}, ${first.threads} threads, revision ${lines.at(-1).commit}.`,
  ].join('\n');
}

const page = readFileSync(path, 'utf8');
writeFileSync(path, replaceBlock(replaceBlock(page, 'techniques', techniquesReference()), 'measured', measured()));
