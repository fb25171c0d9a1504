/** Where results go: one JSON line per run in bench/results/NAME.jsonl, and a table on the screen. */

import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { formatTable } from '../../dist/index.js';

const results = new URL('../results/', import.meta.url);
const root = fileURLToPath(new URL('../../', import.meta.url));

/** `1371efd`, with a `+` when the working tree is not what was committed. */
export function commitName() {
  const git = (/** @type {string[]} */ ...args) => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim();
  const changed = git('status', '--porcelain', '--untracked-files=no', '--', 'src', 'native', 'bench', ':!bench/results') !== '';
  return `${git('rev-parse', '--short', 'HEAD')}${changed ? '+' : ''}`;
}

/** Threads that benches use unless told. */
export const allThreads = availableParallelism();

/**
 * Appends one line to bench/results/<file>.jsonl, with commit, processor and time.
 * @param {string} file
 * @param {Record<string, unknown>} line
 */
export function record(file, line) {
  mkdirSync(results, { recursive: true });
  const full = { bench: file, commit: commitName(), date: new Date().toISOString(), cpu: cpus()[0]?.model.trim() ?? 'unknown', threads: allThreads, node: process.version, ...line };
  appendFileSync(new URL(`${file}.jsonl`, results), `${JSON.stringify(full)}\n`);
  return full;
}

/**
 * @param {readonly string[]} header
 * @param {readonly (readonly (string | number)[])[]} rows
 */
export function showTable(header, rows) {
  console.log(formatTable(rows.map((row) => row.map(String)), { header, align: header.map((_, column) => (column === 0 ? 'left' : 'right')) }));
}

export const percent = (/** @type {number} */ share, digits = 1) => `${(100 * share).toFixed(digits)} %`;
export const giga = (/** @type {number} */ rate) => (rate / 1e9).toFixed(1);
