/**
 * Rounding to bf16 up or down at random, so that on average nothing is lost (Gupta et al. 2015). The random bits are a hash of seed, step
 * and element index alone: threads, tiles and the order of work change nothing. native/optimizer.h draws the same bits.
 */

import { randomBits } from '../base/random.ts';
import { fromBf16Bits } from '../graph/dtype.ts';

export interface RoundingKey {
  readonly seed: number;
  readonly step: number;
}

const WORD = 2 ** 32;
const f32 = new Float32Array(1);
const bits = new Uint32Array(f32.buffer);

/** 16 random bits for element `index`: two rounds of a 32-bit mixer (Wellons' lowbias32), keyed by 64 bits of (seed, step, index / 2^32). */
export function roundingBits({ seed, step }: RoundingKey, index: number): number {
  return bitsOf(randomBits(seed, step, Math.floor(index / WORD)), index);
}

function bitsOf(key: bigint, index: number): number {
  let h = ((index % WORD) + Number(key & 0xffffffffn)) >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15) ^ Number(key >> 32n), 0x846ca68b);
  return (h ^ (h >>> 16)) & 0xffff;
}

/**
 * The f32 nearest to `value` plus random bits below the last bit of bf16, cut off: rounds up with the probability of the part that is cut
 * off. What bf16 holds exactly stays, NaN stays NaN, an infinity itself.
 */
function roundUpOrDown(value: number, random: number): number {
  if (Number.isNaN(value)) return NaN;
  f32[0] = value;
  return fromBf16Bits((bits[0]! + random) >>> 16);
}

/** Elements `first`, `first` + 1, … of a parameter, each rounded. */
export function roundStochastically(values: Float64Array, key: RoundingKey, first: number): Float64Array {
  const keys = new Map<number, bigint>();
  return values.map((value, i) => {
    const high = Math.floor((first + i) / WORD);
    const known = keys.get(high) ?? randomBits(key.seed, key.step, high);
    keys.set(high, known);
    return roundUpOrDown(value, bitsOf(known, first + i));
  });
}
