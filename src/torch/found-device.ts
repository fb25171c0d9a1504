/** The GPUs that torch sees on this machine, as the planner knows devices: rates of the table, memory of the device itself. */

import { formatBytes, GIB } from '../base/bytes.ts';
import { ACCELERATORS, plainName, type Accelerator } from './accelerators.ts';
import type { DeviceSpec } from './device-spec.ts';
import type { ProbedDevice } from './python.ts';

export interface FoundDevice {
  readonly device: DeviceSpec;
  readonly notices: readonly string[];
}

/** How far the memory that the driver reports may be from the table's, for a name that fits several rows. */
const MEMORY_TOLERANCE = 0.1;
/** Of a device that is not in the table. Only the ratio of the two decides what is chosen; the times are then a guess, and said to be one. */
const UNKNOWN = { bandwidthGBps: 500, halfTflops: 60, singleTflops: 30, linkGBps: 16 } as const;

/** Ranks share the work evenly, so the device with the least memory and the slowest of them count. */
export function foundDevice(found: readonly ProbedDevice[], { worldSize, ranksPerNode }: { readonly worldSize: number; readonly ranksPerNode: number }): FoundDevice | undefined {
  const used = found.slice(0, ranksPerNode);
  const rows = used.map((each) => ({ ...each, accelerator: acceleratorNamed(each) }));
  const [first] = rows;
  if (first === undefined) return undefined;
  const slowest = rows.reduce((a, b) => (rate(b.accelerator) < rate(a.accelerator) ? b : a), first);
  const accelerator = slowest.accelerator ?? unknownAccelerator(slowest);
  const memoryBytes = Math.min(...rows.map(({ freeBytes, bytes }) => freeBytes ?? bytes ?? accelerator.usableGiB * GIB));
  const nodes = worldSize / ranksPerNode;
  return {
    device: { name: `${nodes > 1 ? `${nodes} × ` : ''}${ranksPerNode > 1 ? `${ranksPerNode} × ` : ''}${accelerator.name}`, accelerator, memoryBytes, worldSize, devicesPerNode: ranksPerNode },
    notices: [
      ...(rows.every(({ name }) => name === first.name) ? [] : [`the devices differ (${[...new Set(rows.map(({ name }) => name))].join(', ')}): the plan is made for the least memory and the slowest of them`]),
      ...(slowest.accelerator === undefined ? [`'${slowest.name}' is not in the table of devices: its memory (${formatBytes(memoryBytes)}) is known, its speed is a guess`] : []),
      ...(ranksPerNode > found.length ? [`${ranksPerNode} ranks share ${found.length === 1 ? 'one device' : `${found.length} devices`}: the plan takes a device for each`] : []),
    ],
  };
}

/** The row whose spelling the driver's name begins with, the longest first; of rows that fit alike, the one with this memory. */
function acceleratorNamed({ kind, name, bytes }: ProbedDevice): Accelerator | undefined {
  const plain = plainName(name);
  const fits = ACCELERATORS.filter(({ family }) => family === kind)
    .flatMap((row) => [row.name, ...row.aliases].map((spelling) => ({ row, spelling: plainName(spelling) })))
    .filter(({ row, spelling }) => plain.startsWith(spelling) && isWhole(plain, spelling) && (bytes === null || Math.abs(bytes / GIB / row.usableGiB - 1) <= MEMORY_TOLERANCE));
  return fits.sort((a, b) => b.spelling.length - a.spelling.length)[0]?.row;
}

/** `l4` is not the beginning of `l40s`, nor `rtx4070` that of `rtx4070ti`; what may follow a name is its socket and its memory. */
function isWhole(plain: string, spelling: string): boolean {
  return /^(sxm\d?|pcie|nvl|\d+gb|hbm\d?e?|laptopgpu)*$/.test(plain.slice(spelling.length));
}

function rate(accelerator: Accelerator | undefined): number {
  return accelerator?.halfTflops ?? accelerator?.singleTflops ?? 0;
}

function unknownAccelerator({ kind, name, bytes, bf16 }: ProbedDevice): Accelerator {
  const gib = (bytes ?? 8 * GIB) / GIB;
  return { ...UNKNOWN, name, aliases: [], family: kind, memoryGiB: gib, usableGiB: gib, hasBf16: bf16, source: 'not in the table', remark: 'rates are a guess' };
}
