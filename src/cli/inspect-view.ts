/** What `inspect data` and `inspect model` print. */

import { formatBytes } from '../base/bytes.ts';
import { formatTable } from '../base/table.ts';
import type { DataInspection, ModelInspection } from '../index.ts';
import type { Paint } from './colour.ts';
import { joinParts, renderNotices } from './memory-view.ts';
import { formatCount, formatShare, plural } from './numbers.ts';
import { renderRow } from './row-view.ts';

/** Rows with their trained tokens marked, then counts. */
export function renderData({ rows, statistics, maxLength, maxLengthReason, notices }: DataInspection, paint: Paint): string {
  const shown = rows.map(({ document, pieces, tokens, trainedTokens }) =>
    `${paint.apply('bold', `document ${formatCount(document)}`)}  ${plural(tokens, 'token')}, ${formatCount(trainedTokens)} trained\n${renderRow(pieces, paint, { indent: '  ' })}`);
  const { documents, tokens, trainedTokens, cut, cutTokens, split, untrained, longest } = statistics;
  const facts = [
    ['rows of the file', formatCount(statistics.rows), ''],
    ['documents', formatCount(documents), ''],
    ['tokens', formatCount(tokens), documents === 0 ? '' : `${formatCount(tokens / documents)} per document`],
    ['trained', formatCount(trainedTokens), tokens === 0 ? '' : formatShare(trainedTokens / tokens)],
    ['longest row', formatCount(longest), 'tokens'],
    ['cut off', formatCount(cut), cut === 0 ? '' : `rows, ${formatCount(cutTokens)} tokens lost`],
    ['split', formatCount(split), split === 0 ? '' : 'rows'],
    ['left out', formatCount(untrained), untrained === 0 ? '' : 'documents without a trained token'],
    ['max_length', formatCount(maxLength), maxLengthReason],
  ];
  return joinParts([
    rows.length === 0 ? '' : `trained tokens are ${paint.enabled ? 'in colour' : 'in ‹ ›'}`,
    ...shown,
    formatTable(facts, { align: ['left', 'right', 'left'] }),
    renderNotices(notices, paint),
  ]);
}

interface TensorLine {
  readonly name: string;
  readonly shape: string;
  readonly dtype: string;
  readonly bytes: number;
  readonly elements: number;
}

/** Tensors by name, those of the layers folded into one line per kind; then totals. */
export function renderModel({ path, config, parameters, tensors, notices }: ModelInspection, paint: Paint, { grouped }: { readonly grouped: boolean }): string {
  const lines = tensors.map(({ name, shape, dtype, bytes }) => (
    { name, shape: `[${shape.join(', ')}]`, dtype, bytes, elements: shape.reduce((product, size) => product * size, 1) }));
  const folded = fold(lines, { grouped });
  const rows = folded.map(({ line, count, elements, bytes }) => [line.name, count === 1 ? '' : `× ${count}`, line.shape, line.dtype, formatCount(elements), formatBytes(bytes)]);
  const total = tensors.reduce((sum, { bytes }) => sum + bytes, 0);
  return joinParts([
    formatTable([
      ['model', path],
      ['type', `${config.modelType}, ${plural(config.layers, 'layer')}, width ${config.width}, ${config.heads} heads, ${config.keyValueHeads} key/value heads`],
      ['vocabulary', formatCount(config.vocabularySize)],
      ['positions', formatCount(config.maxPositions)],
      ['head', config.tiedHead ? 'tied to the embedding' : 'weights of its own'],
    ]),
    formatTable([...rows, ['total', '', '', '', formatCount(parameters), formatBytes(total)]], {
      header: ['tensor', '', 'shape', 'dtype', 'parameters', 'bytes'], align: ['left', 'right', 'left', 'left', 'right', 'right'],
    }),
    renderNotices(notices, paint),
  ]);
}

interface Folded {
  readonly line: TensorLine;
  readonly count: number;
  readonly elements: number;
  readonly bytes: number;
}

/** `model.layers.0.mlp.up.weight`, `…1…`, … become `model.layers.*.mlp.up.weight`, as long as shape and dtype agree. */
function fold(lines: readonly TensorLine[], { grouped }: { readonly grouped: boolean }): readonly Folded[] {
  const groups = new Map<string, Folded>();
  for (const line of lines) {
    const name = grouped ? line.name.replace(/\.\d+\./, '.*.') : line.name;
    const key = `${name} ${line.shape} ${line.dtype}`;
    const before = groups.get(key);
    groups.set(key, {
      line: before === undefined ? line : { ...line, name },
      count: (before?.count ?? 0) + 1,
      elements: (before?.elements ?? 0) + line.elements,
      bytes: (before?.bytes ?? 0) + line.bytes,
    });
  }
  return [...groups.values()];
}
