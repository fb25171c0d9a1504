/**
 * What `plan --device` names: `rtx-4090`, `8xH100-80GB`, `2x8xA100-40GB` (nodes × devices), `m2-max:64GiB` (another memory than the table's), or numbers
 * alone: `4x80GiB@990TFLOPS,3350GB/s,450GB/s` (memory @ rate of two-byte products, then bandwidth of memory and link where they are known).
 */

import { formatBytes, GIB, parseBytes } from '../base/bytes.ts';
import { FulltuneError, nearest } from '../base/errors.ts';
import { ACCELERATORS, plainName, type Accelerator } from './accelerators.ts';

export interface DeviceSpec {
  /** As it is shown: `8 × NVIDIA H100-SXM`. */
  readonly name: string;
  readonly accelerator: Accelerator;
  /** What a process may take on one device: the driver's own part is gone already. */
  readonly memoryBytes: number;
  readonly worldSize: number;
  readonly devicesPerNode: number;
}

/** A node holds so many devices, where the text does not say how many nodes there are. */
const DEVICES_PER_NODE = 8;
const MOST_DEVICES = 65_536;
/** Between nodes, per device and direction: one network link each, of 400 Gbit/s as in a DGX H100, or 200 as in a DGX A100. */
export function nodeLinkGBps({ linkGBps }: Accelerator): number {
  return linkGBps >= 400 ? 50 : 25;
}

const HELP = 'Write a name (rtx-4090, 8xH100-80GB, 2x8xA100-40GB for nodes × devices, m2-max:64GiB) or numbers (4x80GiB@990TFLOPS,3350GB/s).';

/** Throws E_CONFIG for what it does not understand, with the nearest name. */
export function parseDevice(text: string): DeviceSpec {
  const match = /^\s*(?:(\d+)\s*[x×*]\s*)?(?:(\d+)\s*[x×*]\s*)?(.+?)\s*$/i.exec(text);
  if (match === null) throw wrong(text, 'is empty', HELP);
  const [, first, second, rest = ''] = match;
  const counts = [first, second].filter((count) => count !== undefined).map(Number);
  const worldSize = counts.reduce((product, count) => product * count, 1);
  if (counts.some((count) => count < 1) || worldSize > MOST_DEVICES) throw wrong(text, `asks for ${worldSize} devices; there may be 1 to ${MOST_DEVICES}`, HELP);
  const devicesPerNode = counts.length === 2 ? counts[1]! : worldSize > DEVICES_PER_NODE && worldSize % DEVICES_PER_NODE === 0 ? DEVICES_PER_NODE : worldSize;
  const { accelerator, memoryBytes } = rest.includes('@') ? fromNumbers(rest, text) : fromName(rest, text);
  const nodes = worldSize / devicesPerNode;
  return { name: `${nodes > 1 ? `${nodes} × ` : ''}${devicesPerNode > 1 ? `${devicesPerNode} × ` : ''}${accelerator.name}`, accelerator, memoryBytes, worldSize, devicesPerNode };
}

function fromName(rest: string, text: string): Pick<DeviceSpec, 'accelerator' | 'memoryBytes'> {
  const [name = '', memory] = rest.split(':');
  const accelerator = ACCELERATORS.find((each) => [each.name, ...each.aliases].some((spelling) => plainName(spelling) === plainName(name)));
  if (accelerator === undefined) throw unknownDevice(name, text);
  if (memory === undefined) return { accelerator, memoryBytes: Math.floor(accelerator.usableGiB * GIB) };
  // The share that the driver and the firmware keep is that of the table's row.
  const bytes = Math.floor(bytesIn(memory, text) * (accelerator.usableGiB / accelerator.memoryGiB));
  return { accelerator: { ...accelerator, name: `${accelerator.name} with ${formatBytes(bytesIn(memory, text))}` }, memoryBytes: bytes };
}

function fromNumbers(rest: string, text: string): Pick<DeviceSpec, 'accelerator' | 'memoryBytes'> {
  const [memory = '', numbers = ''] = rest.split('@');
  const [rate = '', ...bandwidths] = numbers.split(',').map((part) => part.trim());
  const tflops = /^(\d+(?:\.\d+)?)\s*tflops?(?:\/s)?$/i.exec(rate)?.[1];
  const speeds = bandwidths.map((part) => /^(\d+(?:\.\d+)?)\s*gb\/s$/i.exec(part)?.[1]);
  if (tflops === undefined || Number(tflops) === 0) throw wrong(text, `has '${rate}' after @, which is no rate`, HELP);
  if (speeds.length > 2 || speeds.some((speed) => speed === undefined || Number(speed) === 0)) throw wrong(text, `has '${bandwidths.join(',')}', where bandwidths in GB/s are expected`, HELP);
  const memoryBytes = bytesIn(memory, text);
  const [half, bandwidth, link] = [Number(tflops), Number(speeds[0] ?? 1000), Number(speeds[1] ?? 32)];
  const accelerator: Accelerator = {
    name: `device of ${formatBytes(memoryBytes)}, ${half} TFLOPS`, aliases: [], family: 'cuda', memoryGiB: memoryBytes / GIB, usableGiB: memoryBytes / GIB, bandwidthGBps: bandwidth,
    halfTflops: half, singleTflops: null, linkGBps: link, hasBf16: true, source: 'as given',
    remark: `taken: ${bandwidth} GB/s of memory${speeds[0] === undefined ? ' (not given)' : ''}, ${link} GB/s to other devices${speeds[1] === undefined ? ' (not given)' : ''}`,
  };
  return { accelerator, memoryBytes };
}

function bytesIn(memory: string, text: string): number {
  const bytes = parseBytes(memory, `--device '${text}'`);
  if (bytes < GIB / 4 || bytes > 4096 * GIB) throw wrong(text, `has ${formatBytes(bytes)} of memory; it must be 256 MiB to 4 TiB`, HELP);
  return bytes;
}

function unknownDevice(name: string, text: string): FulltuneError {
  const spellings = ACCELERATORS.flatMap((each) => [each.name, ...each.aliases].map((spelling) => [plainName(spelling), shortName(each)] as const));
  const near = nearest(plainName(name), spellings.map(([spelling]) => spelling));
  const found = spellings.find(([spelling]) => spelling === near)?.[1];
  const list = ACCELERATORS.map(shortName).join(', ');
  return wrong(text, `names '${name}', which is not in the table of devices`, `${found === undefined ? '' : `Did you mean ${found}? `}There are ${list}.\n  ${HELP}`);
}

/** As a flag takes it: `rtx-4090`. */
function shortName({ name, aliases, family }: Accelerator): string {
  const short = family === 'rocm' ? (aliases[0] ?? name) : name;
  return short.replace(/^(NVIDIA|AMD|Google|Apple) (GeForce )?/, '').replaceAll(' ', '-').toLowerCase();
}

function wrong(text: string, problem: string, remedy: string): FulltuneError {
  return new FulltuneError('E_CONFIG', `--device '${text}' ${problem}`, { where: '--device', remedy });
}
