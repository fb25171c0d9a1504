/**
 * Tokenising happens in child processes that end before training: a tokenizer's memory goes with them. Large .jsonl files are shared out
 * among several, each taking a slice of the file; the parts are then put together in order, so that the result does not depend on it.
 */

import { fork } from 'node:child_process';
import { rmSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { MIB } from '../base/bytes.ts';
import { FulltuneError } from '../base/errors.ts';
import type { ErrorCode } from '../base/errors.ts';
import { datasetKind } from './read-rows.ts';
import { TokenFile } from './token-file.ts';
import { tokeniseDataset, UNUSED_COLUMNS } from './tokenise-dataset.ts';
import type { DatasetCounts, TokenFileSummary, TokeniseJob, TokeniseProgress } from './tokenise-dataset.ts';
import { TokenFileWriter } from './write-token-file.ts';

/** What a child says. */
export type WorkerMessage =
  | { readonly kind: 'progress'; readonly progress: TokeniseProgress }
  | { readonly kind: 'done' }
  | { readonly kind: 'refused'; readonly code: ErrorCode; readonly message: string; readonly where: string | null; readonly remedy: string | null }
  | { readonly kind: 'failed'; readonly stack: string };

export interface TokeniseOptions {
  /** In this process instead of a child: for tests, and when run from TypeScript sources. */
  readonly inProcess: boolean;
  readonly onProgress?: ((progress: TokeniseProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Most child processes at a time. Default: one per core, at most 4. */
  readonly processes?: number | undefined;
}

/** A slice is worth a process of its own from this size. */
const SLICE_BYTES = 2 * MIB;

/** Errors: as tokeniseDataset; the signal's reason when aborted. */
export async function tokeniseInChildren(job: TokeniseJob, options: TokeniseOptions): Promise<void> {
  const most = options.processes ?? Math.min(4, availableParallelism());
  const slices = datasetKind(job.datasetPath) === 'jsonl' ? sliced(statSync(job.datasetPath).size, most) : 1;
  if (slices <= 1) return await runOne(job, options, options.onProgress);

  const { size } = statSync(job.datasetPath);
  const progress = Array.from({ length: slices }, (): TokeniseProgress => ({ bytesRead: 0, rows: 0 }));
  const parts = progress.map((_, i): TokeniseJob => ({
    ...job,
    tokenFilePath: `${job.tokenFilePath}.part${i}`,
    slice: { start: Math.floor((size * i) / slices), end: Math.floor((size * (i + 1)) / slices) },
  }));
  const stop = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
  try {
    const outcomes = await Promise.allSettled(parts.map(async (part, i) => {
      try {
        await runOne(part, { ...options, signal }, (state) => {
          progress[i] = state;
          options.onProgress?.({ bytesRead: sum(progress, (p) => p.bytesRead), rows: sum(progress, (p) => p.rows) });
        });
      } catch (error) {
        stop.abort(error);
        throw error;
      }
    }));
    options.signal?.throwIfAborted();
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw stop.signal.reason ?? outcome.reason;
    join(parts, job.tokenFilePath);
  } finally {
    for (const part of parts) rmSync(part.tokenFilePath, { force: true });
  }
}

function sliced(size: number, most: number): number {
  return Math.max(1, Math.min(most, Math.floor(size / SLICE_BYTES)));
}

function join(parts: readonly TokeniseJob[], path: string): void {
  const writer = new TokenFileWriter(path);
  const files: TokenFile[] = [];
  try {
    for (const part of parts) files.push(TokenFile.open(part.tokenFilePath));
    const summaries = files.map((file) => file.summary as TokenFileSummary);
    const layouts = [...new Set(summaries.map((summary) => summary.layout).filter((layout) => layout !== null))];
    if (layouts.length > 1) {
      const found = layouts.map((layout) => `some those of '${layout}'`).join(', ');
      throw new FulltuneError('E_DATA', `the rows of this file have different columns: ${found}`, {
        where: parts[0]?.datasetPath ?? path, remedy: 'All rows of a file have the same columns: split it into one file per kind, or bring the rows into one form.',
      });
    }
    for (const file of files) writer.append(file);
    const first = summaries[0];
    if (first === undefined) throw new RangeError('no parts');
    const summary: TokenFileSummary = {
      ...first,
      layout: layouts[0] ?? null,
      counts: summaries.map((summary) => summary.counts).reduce(addCounts),
      unusedColumns: [...new Set(summaries.flatMap((summary) => summary.unusedColumns))].slice(0, UNUSED_COLUMNS),
      endOfTurnIds: [...new Set(summaries.flatMap((summary) => summary.endOfTurnIds))],
      examples: summaries.flatMap((summary) => summary.examples).slice(0, first.examples.length || 8),
    };
    writer.finish(summary);
  } catch (error) {
    writer.abandon();
    throw error;
  } finally {
    for (const file of files) file.close();
  }
}

function addCounts(a: DatasetCounts, b: DatasetCounts): DatasetCounts {
  return {
    rows: a.rows + b.rows, documents: a.documents + b.documents, tokens: a.tokens + b.tokens, trainedTokens: a.trainedTokens + b.trainedTokens,
    cut: a.cut + b.cut, cutTokens: a.cutTokens + b.cutTokens, split: a.split + b.split, untrained: a.untrained + b.untrained,
    longest: Math.max(a.longest, b.longest),
  };
}

async function runOne(job: TokeniseJob, { inProcess, signal }: TokeniseOptions, onProgress: TokeniseOptions['onProgress']): Promise<void> {
  signal?.throwIfAborted();
  if (inProcess) {
    await tokeniseDataset(job, { ...(onProgress === undefined ? {} : { onProgress }), ...(signal === undefined ? {} : { signal }) });
    return;
  }
  await new Promise<void>((resolve, reject) => {
    const child = fork(fileURLToPath(new URL('./tokenise-worker.js', import.meta.url)), [], { execArgv: [], serialization: 'json' });
    let settled = false;
    const settle = (act: () => void): void => {
      if (settled) return;
      settled = true;
      signal?.removeEventListener('abort', abort);
      act();
    };
    // A child that is killed leaves its unfinished file behind.
    const abort = (): void => {
      child.once('exit', () => {
        rmSync(`${job.tokenFilePath}.${child.pid}.tmp`, { force: true });
        settle(() => { reject(signal?.reason instanceof Error ? signal.reason : new Error('aborted')); });
      });
      child.kill('SIGKILL');
    };
    signal?.addEventListener('abort', abort, { once: true });
    child.on('message', (message: WorkerMessage) => {
      switch (message.kind) {
        case 'progress':
          onProgress?.(message.progress);
          return;
        case 'done':
          settle(resolve);
          return;
        case 'refused':
          settle(() => {
            reject(new FulltuneError(message.code, message.message, {
              ...(message.where === null ? {} : { where: message.where }), ...(message.remedy === null ? {} : { remedy: message.remedy }),
            }));
          });
          return;
        case 'failed':
          settle(() => { reject(new Error(`tokenising failed: ${message.stack}`)); });
          return;
        default:
          message satisfies never;
      }
    });
    child.on('error', (error) => { settle(() => { reject(error); }); });
    child.on('exit', (code, killedBy) => {
      if (signal?.aborted === true) return;
      rmSync(`${job.tokenFilePath}.${child.pid}.tmp`, { force: true });
      settle(() => {
        reject(new FulltuneError('E_DATA', `the process that tokenises the data ended early (${killedBy ?? `exit code ${code}`})`, {
          where: job.datasetPath, remedy: killedBy === 'SIGKILL' ? 'It may have run out of memory.' : 'Please report this.',
        }));
      });
    });
    child.send(job);
  });
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
