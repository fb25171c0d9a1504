/** Element types of stored values, and exact conversions between their bytes and numbers. */

export type DType = 'f32' | 'bf16' | 'f16' | 'i32' | 'u8';

export const DTYPES: readonly DType[] = ['f32', 'bf16', 'f16', 'i32', 'u8'];

const BYTES: Readonly<Record<DType, number>> = { f32: 4, bf16: 2, f16: 2, i32: 4, u8: 1 };

/** Bytes per element. */
export function dtypeBytes(dtype: DType): number {
  return BYTES[dtype];
}

export function isFloat(dtype: DType): boolean {
  return dtype === 'f32' || dtype === 'bf16' || dtype === 'f16';
}

const f32Scratch = new Float32Array(1);
const u32Scratch = new Uint32Array(f32Scratch.buffer);

/** Rounds to the nearest bf16, ties to even; returns its 16 bits. NaN stays NaN. */
export function toBf16Bits(value: number): number {
  f32Scratch[0] = value;
  const bits = u32Scratch[0]!;
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

export function fromBf16Bits(bits: number): number {
  u32Scratch[0] = bits << 16;
  return f32Scratch[0]!;
}

/** Rounds to the nearest f16 (IEEE binary16), ties to even; returns its 16 bits. */
export function toF16Bits(value: number): number {
  f32Scratch[0] = value;
  const bits = u32Scratch[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00; // ≥ 65536
  if (magnitude >= 0x38800000) { // normal
    const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
    return sign | Math.min(0x7c00, (rounded - 0x38000000) >>> 13);
  }
  // subnormal: units of 2^-24
  const units = Math.abs(value) * 16777216;
  const floor = Math.floor(units);
  const rest = units - floor;
  return sign | (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor);
}

export function fromF16Bits(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** The elements of `bytes` as f64 (exact for every dtype). `bytes` must start at a multiple of the element's size within its buffer. */
export function decodeElements(dtype: DType, bytes: Uint8Array): Float64Array {
  const count = bytes.byteLength / dtypeBytes(dtype);
  switch (dtype) {
    case 'f32': return Float64Array.from(new Float32Array(bytes.buffer, bytes.byteOffset, count));
    case 'i32': return Float64Array.from(new Int32Array(bytes.buffer, bytes.byteOffset, count));
    case 'u8': return Float64Array.from(bytes);
    case 'bf16': return Float64Array.from(new Uint16Array(bytes.buffer, bytes.byteOffset, count), fromBf16Bits);
    case 'f16': return Float64Array.from(new Uint16Array(bytes.buffer, bytes.byteOffset, count), fromF16Bits);
    default: return dtype satisfies never;
  }
}

/** The bytes of `values` rounded to `dtype` (nearest, ties to even). Through f32 for the 16-bit types, as the kernels do. */
export function encodeElements(dtype: DType, values: ArrayLike<number>): Uint8Array {
  switch (dtype) {
    case 'f32': return new Uint8Array(Float32Array.from(values).buffer);
    case 'i32': return new Uint8Array(Int32Array.from(values).buffer);
    case 'u8': return Uint8Array.from(values);
    case 'bf16': return new Uint8Array(Uint16Array.from(values, toBf16Bits).buffer);
    case 'f16': return new Uint8Array(Uint16Array.from(values, toF16Bits).buffer);
    default: return dtype satisfies never;
  }
}
