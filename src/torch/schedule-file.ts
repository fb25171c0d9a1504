/**
 * What a worker trains on, written before it starts: JSON lines, a header and then one line per update with its rows, its learning rate and what is due
 * after it, so that both engines see the same rows at the same rates. Read by `worker/fulltune_worker/schedule.py`.
 *
 *   { "format": "fulltune-schedule", "version": 1, "firstStep", "totalSteps", "layout", "curve" }
 *   { "step", "epoch", "rate", "rows": [[documents …], …], "tokens", "trained", "cursor": { "epoch", "row" }, "evaluate", "save" }
 *
 * Documents are positions in the whole token file, whatever selection of it is trained on. A file of evaluation rows has the same header and lines with
 * `rows` only.
 */

import { closeSync, openSync } from 'node:fs';
import { evaluationRows, type BatchSource } from '../data/batches.ts';
import type { TokenFile } from '../data/token-file.ts';
import { writeFully } from '../files/durable.ts';
import type { PackingChoice } from '../run/training-plan.ts';
import type { ScheduleState } from '../train/learning-rate.ts';

const HEADER = { format: 'fulltune-schedule', version: 1 } as const;
const FLUSH_BYTES = 1 << 20;

export interface ScheduleOptions {
  readonly file: TokenFile;
  /** Standing where the run starts. */
  readonly batches: BatchSource;
  readonly firstStep: number;
  readonly totalSteps: number;
  readonly curve: ScheduleState;
  learningRate(step: number): number;
  isDue(what: 'evaluate' | 'save', position: { readonly step: number; readonly endsEpoch: boolean; readonly updatesInEpoch: number }): boolean;
  updatesInEpoch(epoch: number): number;
}

export function writeSchedule(path: string, { file, batches, firstStep, totalSteps, curve, ...options }: ScheduleOptions): void {
  writeLines(path, function* lines() {
    yield { ...HEADER, firstStep, totalSteps, layout: batches.cursor().layout, curve };
    for (let step = firstStep; step <= totalSteps; step++) {
      const updatesInEpoch = options.updatesInEpoch(batches.cursor().epoch);
      const { rows, epoch, endsEpoch, tokens, trainedTokens } = batches.draw();
      const { layout: _, ...cursor } = batches.cursor();
      const position = { step, endsEpoch, updatesInEpoch };
      yield {
        step, epoch, rate: options.learningRate(step - 1), rows: positions(file, rows), tokens, trained: trainedTokens, cursor,
        evaluate: options.isDue('evaluate', position), save: options.isDue('save', position),
      };
    }
  });
}

export function writeEvaluationRows(path: string, file: TokenFile, packing: PackingChoice): void {
  writeLines(path, function* lines() {
    yield HEADER;
    for (const rows of evaluationRows(file, packing)) yield { rows: positions(file, rows) };
  });
}

function positions(file: TokenFile, rows: readonly Uint32Array[]): readonly (readonly number[])[] {
  return rows.map((row) => Array.from(row, (index) => file.position(index)));
}

function writeLines(path: string, lines: () => Iterable<object>): void {
  const descriptor = openSync(path, 'w');
  try {
    let text = '';
    for (const line of lines()) {
      text += `${JSON.stringify(line)}\n`;
      if (text.length < FLUSH_BYTES) continue;
      writeFully(descriptor, Buffer.from(text, 'utf8'));
      text = '';
    }
    writeFully(descriptor, Buffer.from(text, 'utf8'));
  } finally {
    closeSync(descriptor);
  }
}
