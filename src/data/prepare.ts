/** From settings to tokenised data, ready to be cut into batches: one cached token file per dataset, the row length, what is learned. */

import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { alignUp } from '../base/bytes.ts';
import { FulltuneError } from '../base/errors.ts';
import type { Settings } from '../run/run-config.ts';
import { bucketLengths } from './buckets.ts';
import { dataNotices } from './data-notices.ts';
import { drawEvaluation } from './draw-evaluation.ts';
import { datasetKind } from './read-rows.ts';
import type { TextPiece } from './text-pieces.ts';
import { TOKEN_FILE_VERSION, TokenFile } from './token-file.ts';
import type { DatasetCounts, TokenFileSummary, TokeniseJob, TokeniseProgress } from './tokenise-dataset.ts';
import { tokeniseInChildren } from './tokenise-process.ts';

export { inspectRows } from './inspect-rows.ts';
export type { InspectedRow } from './inspect-rows.ts';
export { defaultOverlong } from './read-rows.ts';

/** Of the training data, after evaluation documents are taken out. */
export type DataStatistics = DatasetCounts;

export interface PreparedData {
  readonly train: TokenFile;
  readonly evaluation: TokenFile | undefined;
  /** Row length for packing, and the most for buckets. */
  readonly maxLength: number;
  readonly maxLengthReason: string;
  /** Row lengths for training without packing; evaluation documents fit, too. */
  readonly bucketLengths: readonly number[];
  readonly statistics: DataStatistics;
  /** One training document as text. */
  readonly example: readonly TextPiece[];
  /** Tokens that end an assistant's turn, or EOS: where generation stops. */
  readonly endOfTurnIds: readonly number[];
  readonly notices: readonly string[];
  /** The chat template that was chosen instead of the model's own, to be saved with the model. */
  readonly chatTemplate: string | undefined;
  readonly modelDirectory: string;
}

export interface PrepareOptions {
  readonly settings: Settings;
  readonly modelDirectory: string;
  /** Rows of the model's embedding. */
  readonly vocabularySize: number;
  readonly modelMaxLength: number;
  /** Token files go here and are found here again. */
  readonly workDirectory: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: TokeniseProgress & { readonly dataset: string; readonly totalBytes: number }) => void;
  /** Tokenise in this process. Default: only when run from TypeScript sources. */
  readonly inProcess?: boolean;
}

/** Longest row where neither user nor model says less. */
const DEFAULT_MAX_LENGTH = 1024;

/** Part of the cache key: raised when the rules of tokenise.ts or the summary of a token file change. */
const RULES_VERSION = 2;

/** Those that openTokenizer reads. */
const TOKENIZER_FILES = [
  'tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'chat_template.jinja', 'config.json', 'generation_config.json',
];

/** Errors: E_DATA, E_TEMPLATE, E_CONFIG, E_FILE. */
export async function prepareData(options: PrepareOptions): Promise<PreparedData> {
  const { settings, modelDirectory, modelMaxLength } = options;
  const longestTokens = longestAllowed(settings, modelMaxLength);
  if (settings.eval_dataset !== undefined && settings.eval_fraction > 0) {
    throw new FulltuneError('E_CONFIG', 'eval_dataset and eval_fraction contradict each other', {
      where: 'eval_fraction', remedy: 'Give one of them.',
    });
  }
  for (const path of [settings.dataset, settings.eval_dataset]) if (path !== undefined) datasetKind(path);

  const all = await tokenFile(settings.dataset, longestTokens, options);
  let separate: TokenFile | undefined;
  try {
    separate = settings.eval_dataset === undefined ? undefined : await tokenFile(settings.eval_dataset, longestTokens, options);
  } catch (error) {
    all.close();
    throw error;
  }
  const drawn = settings.eval_fraction > 0 ? drawEvaluation(all, settings.eval_fraction, settings.seed, settings.dataset) : undefined;
  const train = drawn?.train ?? all;
  const evaluation = drawn?.evaluation ?? separate;

  const summary = all.summary as TokenFileSummary;
  const longest = Math.max(longestOf(all), separate === undefined ? 0 : longestOf(separate));
  const { maxLength, maxLengthReason } = rowLength(settings.max_length, longestTokens, longest, modelMaxLength);
  const statistics: DataStatistics = drawn === undefined ? summary.counts : {
    ...summary.counts, documents: train.documents, tokens: sum(train.lengths), trainedTokens: sum(train.trainedCounts),
  };
  const noticeSettings = { longestTokens, chatTemplate: settings.chat_template };
  return {
    train, evaluation, maxLength, maxLengthReason, statistics, modelDirectory,
    bucketLengths: bucketLengths(separate === undefined ? all.lengths : joined(all.lengths, separate.lengths), maxLength),
    example: summary.examples[drawn?.firstTrained ?? 0] ?? summary.examples[0] ?? [],
    endOfTurnIds: summary.endOfTurnIds.length > 0 ? summary.endOfTurnIds : summary.eosId === null ? [] : [summary.eosId],
    notices: [
      ...dataNotices(settings.dataset, summary, noticeSettings),
      ...(separate === undefined ? [] : dataNotices(settings.eval_dataset ?? '', separate.summary as TokenFileSummary, noticeSettings)),
      ...(drawn === undefined ? [] : [drawn.notice]),
    ],
    chatTemplate: summary.chatTemplate ?? undefined,
  };
}

function longestAllowed(settings: Settings, modelMaxLength: number): number {
  const asked = settings.max_length;
  if (asked === undefined) return Math.min(DEFAULT_MAX_LENGTH, modelMaxLength);
  if (!Number.isInteger(asked) || asked < 2) {
    throw new FulltuneError('E_CONFIG', `max_length is ${asked}; it is a whole number from 2 on`, { where: 'max_length' });
  }
  if (asked > modelMaxLength) {
    throw new FulltuneError('E_CONFIG', `max_length ${asked} is more than the model's ${modelMaxLength} positions`, {
      where: 'max_length', remedy: `Use at most --max-length ${modelMaxLength}.`,
    });
  }
  return asked;
}

function rowLength(
  asked: number | undefined, limit: number, longest: number, modelMaxLength: number,
): Pick<PreparedData, 'maxLength' | 'maxLengthReason'> {
  if (asked !== undefined) return { maxLength: asked, maxLengthReason: 'as set' };
  const rounded = alignUp(longest, 64);
  if (rounded < limit) return { maxLength: rounded, maxLengthReason: `the longest document has ${longest} tokens` };
  const reason = limit === modelMaxLength ? `the model has ${limit} positions` : `the default, the longest document has ${longest} tokens or more`;
  return { maxLength: limit, maxLengthReason: reason };
}

async function tokenFile(datasetPath: string, longestTokens: number, options: PrepareOptions): Promise<TokenFile> {
  const { settings, modelDirectory, vocabularySize, workDirectory, signal, onProgress } = options;
  const job: Omit<TokeniseJob, 'tokenFilePath'> = {
    datasetPath, modelDirectory, longestTokens, vocabularySize, slice: null,
    chatTemplate: settings.chat_template ?? null, trainOnInputs: settings.train_on_inputs, overlong: settings.overlong,
  };
  const { digest, bytes } = await digestOfFile(datasetPath, signal);
  const tokenFilePath = join(workDirectory, `tokens-${cacheKey(job, digest)}.bin`);
  const cached = openCached(tokenFilePath);
  if (cached !== undefined) return checked(cached, datasetPath);
  await tokeniseInChildren({ ...job, tokenFilePath }, {
    inProcess: options.inProcess ?? import.meta.url.endsWith('.ts'),
    signal,
    onProgress: onProgress === undefined ? undefined : (progress) => { onProgress({ ...progress, dataset: datasetPath, totalBytes: bytes }); },
  });
  return checked(TokenFile.open(tokenFilePath), datasetPath);
}

/** A damaged file in the cache is written anew. */
function openCached(path: string): TokenFile | undefined {
  if (!existsSync(path)) return undefined;
  try {
    return TokenFile.open(path);
  } catch (error) {
    if (!(error instanceof FulltuneError)) throw error;
    rmSync(path, { force: true });
    return undefined;
  }
}

function checked(file: TokenFile, datasetPath: string): TokenFile {
  if (file.documents > 0) return file;
  file.close();
  rmSync(file.path, { force: true });
  const { counts } = file.summary as TokenFileSummary;
  if (counts.rows === 0) throw new FulltuneError('E_DATA', 'the dataset is empty: it has no row', { where: datasetPath, remedy: 'Give a file with rows.' });
  throw new FulltuneError('E_DATA', `nothing would be learned: no token of the ${counts.rows === 1 ? 'only row' : `${counts.rows} rows`} is trained`, {
    where: datasetPath, remedy: 'Look at --max-length (is the answer cut off?), labels (are all -100?) and weights, or use --train-on-inputs.',
  });
}

/** By content, not by name or time: the dataset, what makes the tokenizer and template, the settings that matter. */
function cacheKey(job: Omit<TokeniseJob, 'tokenFilePath'>, datasetDigest: string): string {
  const hash = createHash('sha256');
  const { datasetPath, modelDirectory, chatTemplate, ...rest } = job;
  hash.update(JSON.stringify([TOKEN_FILE_VERSION, RULES_VERSION, datasetKind(datasetPath), datasetDigest, rest]));
  for (const name of TOKENIZER_FILES) {
    const path = join(modelDirectory, name);
    hash.update(`\n${name}\n`);
    if (existsSync(path)) hash.update(readFileSync(path));
  }
  hash.update(`\ntemplate\n${chatTemplate ?? ''}\n`);
  if (chatTemplate !== null && chatTemplate !== 'chatml' && existsSync(chatTemplate)) hash.update(readFileSync(chatTemplate));
  return hash.digest('hex').slice(0, 24);
}

async function digestOfFile(path: string, signal: AbortSignal | undefined): Promise<{ readonly digest: string; readonly bytes: number }> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of createReadStream(path, { ...(signal === undefined ? {} : { signal }), highWaterMark: 1 << 20 })) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  return { digest: hash.digest('hex'), bytes };
}

function longestOf(file: TokenFile): number {
  return file.lengths.reduce((longest, length) => Math.max(longest, length), 0);
}

function joined(a: Uint32Array, b: Uint32Array): Uint32Array {
  const both = new Uint32Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

function sum(words: Uint32Array): number {
  return words.reduce((total, word) => total + word, 0);
}
