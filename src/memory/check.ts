/**
 * An independent check of a placement: it shares no code with the placer. Sweeps the schedule with the set of live ranges ordered by
 * offset, and compares each newcomer with its neighbours.
 */

import type { LiveRange } from './liveness.ts';
import type { Placement } from './arena.ts';

/** Throws when two ranges that live at once share a byte, when one sticks out of the arena, or starts at an unaligned offset. */
export function checkPlacement(ranges: readonly LiveRange[], placement: Placement, alignment: number): void {
  const events = ranges.flatMap((range, index) => range.bytes === 0 ? [] : [
    { position: range.birth, order: 1, index },
    { position: range.death + 1, order: 0, index },
  ]).sort((a, b) => a.position - b.position || a.order - b.order);
  const live: { readonly from: number; readonly to: number; readonly index: number }[] = [];
  for (const { order, index } of events) {
    const range = ranges[index]!;
    const from = placement.offsets[index]!;
    const to = from + range.bytes;
    if (order === 0) {
      live.splice(live.findIndex((other) => other.index === index), 1);
      continue;
    }
    if (from % alignment !== 0) throw new Error(`arena: '${range.name}' starts at ${from}, which is no multiple of ${alignment}`);
    if (!(from >= 0) || to > placement.bytes) throw new Error(`arena: '${range.name}' ends at ${to} of ${placement.bytes} bytes`);
    const at = live.findIndex((other) => other.from >= from);
    const above = at === -1 ? undefined : live[at];
    const below = live[(at === -1 ? live.length : at) - 1];
    for (const other of [below, above]) {
      if (other !== undefined && other.from < to && from < other.to) {
        const name = ranges[other.index]!.name;
        throw new Error(`arena: '${range.name}' [${from}, ${to}) overlaps '${name}' [${other.from}, ${other.to}) while both are live`);
      }
    }
    live.splice(at === -1 ? live.length : at, 0, { from, to, index });
  }
}
