/**
 * Places in the file beside the arena, as in the arena: what outlives a program once at the bottom, in the order of the names, so that a place
 * depends on nothing but the set of these values; above it what lives inside one program, for only one runs at a time.
 */

import { alignUp } from '../base/bytes.ts';
import type { Graph, Value } from '../graph/graph.ts';
import { byteCount, formatType, sameShape } from '../graph/shape.ts';

/** A page: no transfer touches one that belongs to another value. */
const ALIGNMENT = 4096;

/** A persistent value that lives in the file: its first byte there. */
export interface FileBlock {
  readonly value: Value;
  readonly at: number;
}

export interface FileLayout {
  readonly persistent: ReadonlyMap<string, FileBlock>;
  /** For each graph, the first byte of each of its regions. */
  readonly offsets: readonly (readonly number[])[];
  readonly bytes: number;
}

/** Lays out the regions of all graphs of a run. Throws when one persistent name has two types. */
export function placeRegions(graphs: readonly Graph[]): FileLayout {
  const lasting = graphs.flatMap(({ regions = [] }) => regions.filter(({ persistent }) => persistent)).sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  const persistent = new Map<string, FileBlock>();
  let bottom = 0;
  for (const value of lasting) {
    const known = persistent.get(value.name)?.value;
    if (known === undefined) {
      persistent.set(value.name, { value, at: bottom });
      bottom = alignUp(bottom + byteCount(value), ALIGNMENT);
    } else if (known.dtype !== value.dtype || !sameShape(known.shape, value.shape)) {
      throw new Error(`'${value.name}' in the file is ${formatType(known)} in one program and ${formatType(value)} in another`);
    }
  }
  let bytes = bottom;
  const offsets = graphs.map(({ regions = [] }) => {
    let end = bottom;
    const places = regions.map((value) => {
      const block = value.persistent ? persistent.get(value.name) : undefined;
      if (block !== undefined) return block.at;
      const at = end;
      end = alignUp(at + byteCount(value), ALIGNMENT);
      return at;
    });
    bytes = Math.max(bytes, end);
    return places;
  });
  return { persistent, offsets, bytes };
}
