/** Byte counts: always plain numbers (exact to 2^53), never squeezed through 32-bit operators. KiB = 2^10, MiB = 2^20, GiB = 2^30. */

import { FulltuneError } from './errors.ts';

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;
export const TIB = 1024 * GIB;

/** 3.55 GiB, 128.0 MiB, 512 B: three significant places and a binary unit. */
export function formatBytes(bytes: number): string {
  const magnitude = Math.abs(bytes);
  if (magnitude >= TIB) return `${(bytes / TIB).toFixed(2)} TiB`;
  if (magnitude >= GIB) return `${(bytes / GIB).toFixed(2)} GiB`;
  if (magnitude >= MIB) return `${(bytes / MIB).toFixed(1)} MiB`;
  if (magnitude >= KIB) return `${(bytes / KIB).toFixed(1)} KiB`;
  return `${bytes} B`;
}

const UNITS: Readonly<Record<string, number>> = {
  '': 1, b: 1,
  k: KIB, kib: KIB, kb: 1e3,
  m: MIB, mib: MIB, mb: 1e6,
  g: GIB, gib: GIB, gb: 1e9,
  t: TIB, tib: TIB, tb: 1e12,
};

/** Reads `8GiB`, `8G`, `8 GB`, `8589934592`. A bare K, M, G, T is binary; KB, MB, GB, TB are powers of ten. */
export function parseBytes(text: string, where: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*$/.exec(text);
  const unit = match === null ? undefined : UNITS[(match[2] ?? '').toLowerCase()];
  if (match === null || unit === undefined) {
    throw new FulltuneError('E_CONFIG', `'${text}' is not an amount of memory`, { where, remedy: 'Write it like 8GiB, 512MiB or 6GB.' });
  }
  return Math.floor(Number(match[1]) * unit);
}

/** The next multiple of `alignment` at or above `value`. */
export function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}
