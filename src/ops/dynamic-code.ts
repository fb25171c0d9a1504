/**
 * Eight-bit codes for values in [-1, 1], or [0, 1], with a tapered exponent: dynamic tree quantisation (Dettmers 2016; Dettmers et al. 2022,
 * section 2.1). The i-th of 7 decades, from [1e-7, 1e-6] to [0.1, 1], is cut into 2^i equal pieces (unsigned: 2^(i+1)), whose middles are
 * the values; 0 and 1 are added. native/optimizer_8bit.c makes the same tables.
 */

/** Elements that share one scale, the greatest magnitude among them. */
export const CODE_BLOCK = 256;

const DECADES = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1];
/** The code of 0 in the signed table; that of q steps above it is 127 + q, below it 127 - q. */
const SIGNED_ZERO = 127;

export interface DynamicCode {
  /** f32, ascending: the value of each code 0 … 255. */
  readonly values: Float64Array;
  /** The code whose value is nearest to x; a tie goes to the one nearer to 0. */
  encode(x: number): number;
}

/** Magnitudes: 0, the middles of the pieces, 1. f32, ascending. */
function magnitudes(piecesOfFirst: number): readonly number[] {
  const middles = DECADES.flatMap((scale, i) => {
    const pieces = piecesOfFirst * 2 ** i;
    return Array.from({ length: pieces }, (_, j) => Math.fround(scale * (0.1 + (0.9 * (j + 0.5)) / pieces)));
  });
  return [0, ...middles, 1];
}

/** How many magnitudes lie below the midpoint that x has passed: the index of the nearest one. */
function nearest(midpoints: readonly number[], x: number): number {
  let [low, high] = [0, midpoints.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (midpoints[middle]! < x) low = middle + 1;
    else high = middle;
  }
  return low;
}

function midpointsOf(values: readonly number[]): readonly number[] {
  return values.slice(1).map((value, i) => Math.fround((values[i]! + value) / 2));
}

/** 0 … 255: 0, 254 middles, 1. */
function unsignedCode(): DynamicCode {
  const values = magnitudes(2);
  const midpoints = midpointsOf(values);
  return { values: Float64Array.from(values), encode: (x) => nearest(midpoints, x) };
}

/** 0 … 126 negative, 127 zero, 128 … 254 positive, 255 one; there is no -1. */
function signedCode(): DynamicCode {
  const values = magnitudes(1);
  const midpoints = midpointsOf(values);
  return {
    values: Float64Array.from({ length: 256 }, (_, code) => (code < SIGNED_ZERO ? -values[SIGNED_ZERO - code]! : values[code - SIGNED_ZERO]!)),
    encode(x) {
      const steps = nearest(midpoints, Math.abs(x));
      return x < 0 ? SIGNED_ZERO - Math.min(SIGNED_ZERO, steps) : SIGNED_ZERO + steps;
    },
  };
}

export const SIGNED_CODE = signedCode();
export const UNSIGNED_CODE = unsignedCode();

/** Values of `codes` in blocks of 256, each times its block's scale. */
export function decodeBlocks({ values }: DynamicCode, codes: Float64Array, scales: Float64Array): Float64Array {
  return codes.map((code, i) => values[code]! * scales[Math.floor(i / CODE_BLOCK)]!);
}

/**
 * Codes and scales of `x`. A block with a NaN or an infinity gets that as its scale and the code of 1 throughout, so that it stays visible;
 * a block of zeros gets the scale 0.
 */
export function encodeBlocks(code: DynamicCode, x: Float64Array): { readonly codes: Float64Array; readonly scales: Float64Array } {
  const codes = new Float64Array(x.length);
  const scales = new Float64Array(Math.ceil(x.length / CODE_BLOCK));
  for (let block = 0; block < scales.length; block++) {
    const [from, to] = [block * CODE_BLOCK, Math.min(x.length, (block + 1) * CODE_BLOCK)];
    const part = x.subarray(from, to);
    const scale = part.reduce((most, value) => Math.max(most, Math.abs(value)), 0); // NaN if any is
    scales[block] = scale;
    codes.set(part.map((value) => (Number.isFinite(scale) ? code.encode(scale > 0 ? value / scale : 0) : 255)), from);
  }
  return { codes, scales };
}
