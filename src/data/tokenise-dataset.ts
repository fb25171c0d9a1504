/** Rows of a dataset file → a token file: reads, recognises the columns, tokenises, cuts or splits what is too long, and counts. */

import { FulltuneError } from '../base/errors.ts';
import type { Overlong } from '../run/run-config.ts';
import { chosenTemplate, openChatTemplate } from './chat-template.ts';
import { layoutOf, parseRow, unusedColumns } from './parse-row.ts';
import type { Layout } from './parse-row.ts';
import { readRows } from './read-rows.ts';
import type { ByteSlice } from './read-rows.ts';
import { textPieces } from './text-pieces.ts';
import type { TextPiece } from './text-pieces.ts';
import { tokenise } from './tokenise.ts';
import type { TokenisedDocument } from './tokenise.ts';
import { openTokenizer } from './tokenizer.ts';
import { TokenFileWriter } from './write-token-file.ts';

/** Plain JSON: it is sent to a child process. */
export interface TokeniseJob {
  readonly datasetPath: string;
  readonly modelDirectory: string;
  readonly tokenFilePath: string;
  /** The setting; null: the model's own. */
  readonly chatTemplate: string | null;
  readonly trainOnInputs: boolean;
  readonly overlong: Overlong;
  /** Longest document, in tokens. */
  readonly longestTokens: number;
  /** Token ids must be smaller. */
  readonly vocabularySize: number;
  /** Null: the whole file. */
  readonly slice: ByteSlice | null;
}

export interface DatasetCounts {
  /** Rows of the dataset file (documents of a .txt file). */
  readonly rows: number;
  /** Documents of the token file: rows without those left out, parts of a split row counted one by one. */
  readonly documents: number;
  readonly tokens: number;
  readonly trainedTokens: number;
  /** Rows that were cut off, and the tokens lost by it. */
  readonly cut: number;
  readonly cutTokens: number;
  /** Rows that were split. */
  readonly split: number;
  /** Documents left out because none of their tokens is learned. */
  readonly untrained: number;
  /** Tokens of the longest row, before cutting and splitting. */
  readonly longest: number;
}

/** The JSON beside the documents in a token file. */
export interface TokenFileSummary {
  readonly counts: DatasetCounts;
  /** Null in a file without rows. */
  readonly layout: Layout | null;
  /** Columns that no row's layout reads; also `tools` where the chat template has no place for them. */
  readonly unusedColumns: readonly string[];
  readonly endOfTurnIds: readonly number[];
  readonly eosId: number | null;
  /** The chat template when it was chosen, not the model's own. */
  readonly chatTemplate: string | null;
  /** The first documents as text. */
  readonly examples: readonly (readonly TextPiece[])[];
}

export interface TokeniseProgress {
  readonly bytesRead: number;
  readonly rows: number;
}

const EXAMPLES = 8;
const EXAMPLE_TOKENS = 1500;
/** Most unused columns that are remembered. */
export const UNUSED_COLUMNS = 20;
const PROGRESS_MS = 100;

/** Errors: E_DATA and E_TEMPLATE naming file and line. The token file exists afterwards, complete, or not at all. */
export async function tokeniseDataset(
  job: TokeniseJob, options: { readonly onProgress?: (progress: TokeniseProgress) => void; readonly signal?: AbortSignal } = {},
): Promise<void> {
  const tokenizer = openTokenizer(job.modelDirectory);
  const templateText = job.chatTemplate === null ? tokenizer.chatTemplate : chosenTemplate(job.chatTemplate, tokenizer);
  const template = templateText === undefined ? undefined : openChatTemplate(templateText, tokenizer.specialTokens);
  const context = { tokenizer, template, trainOnInputs: job.trainOnInputs };
  const counts = { rows: 0, documents: 0, tokens: 0, trainedTokens: 0, cut: 0, cutTokens: 0, split: 0, untrained: 0, longest: 0 };
  const endOfTurnIds: number[] = [];
  const unused = new Set<string>();
  const examples: (readonly TextPiece[])[] = [];
  let layout: Layout | undefined;

  const writer = new TokenFileWriter(job.tokenFilePath);
  const add = ({ ids, trained }: Pick<TokenisedDocument, 'ids' | 'trained'>, continues: boolean): boolean => {
    const learned = trained.reduce((sum, flag) => sum + flag, 0);
    if (learned === 0) {
      counts.untrained++;
      return false;
    }
    writer.add(ids, trained, { continues });
    counts.documents++;
    counts.tokens += ids.length;
    counts.trainedTokens += learned;
    if (examples.length < EXAMPLES) examples.push(textPieces(tokenizer, ids.slice(0, EXAMPLE_TOKENS), trained));
    return true;
  };

  try {
    let reported = 0;
    const rows = readRows(job.datasetPath, { eosToken: tokenizer.specialTokens['eos_token'], slice: job.slice ?? undefined });
    for (const { value, where, bytesRead } of rows) {
      layout ??= layoutOf(value, where);
      const source = parseRow(value, layout, job, where);
      const document = tokenise(source, context, where);
      for (const name of unusedColumns(value, layout)) if (unused.size < UNUSED_COLUMNS) unused.add(name);
      if (source.kind === 'chat' && (source.tools?.length ?? 0) > 0 && templateText?.includes('tools') === false) unused.add('tools');
      checkVocabulary(document.ids, job.vocabularySize, where);
      for (const id of document.endsOfTurn) if (!endOfTurnIds.includes(id)) endOfTurnIds.push(id);
      counts.rows++;
      counts.longest = Math.max(counts.longest, document.ids.length);
      if (document.ids.length <= job.longestTokens) {
        add(document, false);
      } else {
        fit(document, job, where, counts, add);
      }
      const now = performance.now();
      if (now - reported >= PROGRESS_MS) {
        reported = now;
        options.onProgress?.({ bytesRead, rows: counts.rows });
        await new Promise<void>((resolve) => { setImmediate(resolve); });
        options.signal?.throwIfAborted();
      }
    }
    const summary: TokenFileSummary = {
      counts, layout: layout ?? null, unusedColumns: [...unused], endOfTurnIds, eosId: tokenizer.eosId ?? null,
      chatTemplate: job.chatTemplate === null ? null : (templateText ?? null), examples,
    };
    writer.finish(summary);
  } catch (error) {
    writer.abandon();
    throw error;
  }
}

function fit(
  { ids, trained }: TokenisedDocument, { overlong, longestTokens }: TokeniseJob, where: string,
  counts: { cut: number; cutTokens: number; split: number }, add: (part: Pick<TokenisedDocument, 'ids' | 'trained'>, continues: boolean) => boolean,
): void {
  switch (overlong) {
    case 'truncate':
      counts.cut++;
      counts.cutTokens += ids.length - longestTokens;
      add({ ids: ids.slice(0, longestTokens), trained: trained.slice(0, longestTokens) }, false);
      return;
    case 'split': {
      counts.split++;
      let written = false;
      // Each part begins with the last token of the part before it, as context: every token of the row keeps its label.
      for (let start = 0; start < ids.length - 1; start += longestTokens - 1) {
        const part = trained.slice(start, start + longestTokens);
        part[0] = 0;
        written = add({ ids: ids.slice(start, start + longestTokens), trained: part }, written) || written;
      }
      return;
    }
    case 'error':
      throw new FulltuneError('E_DATA', `this row has ${ids.length} tokens, and the longest allowed is ${longestTokens}`, {
        where, remedy: 'Raise --max-length, or use --overlong truncate or --overlong split.',
      });
    default:
      overlong satisfies never;
  }
}

function checkVocabulary(ids: readonly number[], vocabularySize: number, where: string): void {
  const wrong = ids.findIndex((id) => id < 0 || id >= vocabularySize);
  if (wrong < 0) return;
  throw new FulltuneError('E_DATA', `token id ${ids[wrong]} at position ${wrong} is outside the model's vocabulary of ${vocabularySize}`, {
    where, remedy: 'Tokenizer and data must belong to the model.',
  });
}
