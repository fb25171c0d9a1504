/**
 * GPUs and TPUs: memory, bandwidth and rates that plans are made from, each with its source. Rates are dense, in 10^12 per second, with f32
 * accumulation; bandwidths are in 10^9 bytes per second, those of links per direction.
 *
 * `usableGiB` is what PyTorch reports as the device's total capacity (from its out-of-memory messages in public issue threads); where it is not known,
 * 98 % of the nominal memory is taken, and of Apple's unified memory 75 %, near its default limit for the GPU.
 */

export interface Accelerator {
  readonly name: string;
  /** Spellings besides the name; case, spaces, dashes and makers' names do not matter. */
  readonly aliases: readonly string[];
  readonly family: 'cuda' | 'rocm' | 'mps' | 'tpu';
  readonly memoryGiB: number;
  readonly usableGiB: number;
  readonly bandwidthGBps: number;
  /** Products of two-byte operands; null: not known, taken as the f32 rate. */
  readonly halfTflops: number | null;
  /** f32 outside tensor cores, which is PyTorch's default; null: not known. */
  readonly singleTflops: number | null;
  /** To the other devices of one node. */
  readonly linkGBps: number;
  /** False: f16 alone is fast. */
  readonly hasBf16: boolean;
  readonly source: string;
  readonly remark: string;
}

const LIGHTNING = 'Lightning fabric/utilities/throughput.py _CUDA_FLOPS';
const LLM_ANALYSIS = 'cli99/llm-analysis gpu_configs @d841e40';
const STAS = 'stas00/ml-engineering compute/accelerator/README.md @744d01e';
const EXO = 'exo device_capabilities.py @50b6800';
const CYBIRD = `CYBIRD-D Nvidia_GPU_Specification.md (bandwidth); ${EXO} (rates)`;
const TPU = 'docs.cloud.google.com/tpu/docs';
const GEFORCE = 'rate with f32 accumulation, half of the advertised f16 one';
const UNIFIED = 'largest configuration: name a smaller one as m1-max:32GiB; the rate of two-byte types is not published and taken as that of f32';

/** PCIe by generation, of 16 lanes. */
const PCIE3 = 16;
const PCIE4 = 32;
const PCIE5 = 64;

type Numbers = readonly [memoryGiB: number, usableGiB: number | null, bandwidthGBps: number, halfTflops: number | null, singleTflops: number | null, linkGBps: number];

function cuda(name: string, aliases: readonly string[], numbers: Numbers, source: string, remark = ''): Accelerator {
  return row('cuda', name, aliases, numbers, source, remark);
}

function row(family: Accelerator['family'], name: string, aliases: readonly string[], [memoryGiB, usable, bandwidthGBps, halfTflops, singleTflops, linkGBps]: Numbers, source: string, remark: string): Accelerator {
  const share = family === 'mps' ? 0.75 : 0.98;
  return { name, aliases, family, memoryGiB, usableGiB: usable ?? memoryGiB * share, bandwidthGBps, halfTflops, singleTflops, linkGBps, hasBf16: !remark.startsWith('no bf16'), source, remark };
}

function apple(name: string, memoryGiB: number, bandwidthGBps: number, singleTflops: number | null): Accelerator {
  return row('mps', `Apple ${name}`, [name], [memoryGiB, null, bandwidthGBps, null, singleTflops, 5], `${EXO} (f32); memory and bandwidth from the maker's data sheet`, UNIFIED);
}

export const ACCELERATORS: readonly Accelerator[] = [
  cuda('NVIDIA T4', ['tesla-t4'], [16, 14.56, 320, 65, 8.1, PCIE3], `${LIGHTNING}; bandwidth from the maker's data sheet`, 'no bf16 tensor cores'),
  cuda('NVIDIA V100-SXM2-16GB', ['v100', 'v100-16gb', 'v100-sxm2'], [16, 15.77, 900, 125, 15.7, 150], `${LLM_ANALYSIS}; ${LIGHTNING}`, 'no bf16 tensor cores'),
  cuda('NVIDIA V100-SXM2-32GB', ['v100-32gb'], [32, 31.74, 900, 125, 15.7, 150], `${LLM_ANALYSIS}; ${LIGHTNING}`, 'no bf16 tensor cores'),
  cuda('NVIDIA V100-PCIe', ['v100-pcie-16gb'], [16, 15.77, 900, 112, 14, PCIE3], `${LLM_ANALYSIS}; ${LIGHTNING}`, 'no bf16 tensor cores'),
  cuda('NVIDIA A10', [], [24, 22.07, 600, 125, 31.2, PCIE4], `${LIGHTNING}; ${LLM_ANALYSIS}`),
  cuda('NVIDIA A10G', [], [24, 22.07, 600, 70, null, PCIE4], LLM_ANALYSIS, 'another table has 125, the rate of the A10'),
  cuda('NVIDIA A100-SXM-40GB', ['a100-40gb', 'a100-sxm4-40gb'], [40, 39.5, 1555, 312, 19.5, 300], `${LLM_ANALYSIS}; ${STAS}`),
  cuda('NVIDIA A100-SXM-80GB', ['a100', 'a100-80gb', 'a100-sxm', 'a100-sxm4-80gb'], [80, 79.15, 2039, 312, 19.5, 300], `${LLM_ANALYSIS}; ${STAS}`),
  cuda('NVIDIA A100-PCIe-80GB', ['a100-pcie', 'a100-80gb-pcie'], [80, 79.15, 1935, 312, 19.5, PCIE4], `${LLM_ANALYSIS}; ${STAS}`),
  cuda('NVIDIA L4', [], [24, 22.05, 300, 121, 30.3, PCIE4], "winston-zhang-orz/gpu-specs specs.md; bandwidth from the maker's data sheet"),
  cuda('NVIDIA L40S', [], [48, 44.4, 864, 362, 91.6, PCIE4], `${STAS}; winston-zhang-orz/gpu-specs specs.md`),
  cuda('NVIDIA RTX A6000', ['a6000'], [48, 47.5, 768, 154.8, 38.71, PCIE4], `${LLM_ANALYSIS}; HF dataset ohdoking/gpu_spec (f32)`),
  cuda('NVIDIA H100-SXM', ['h100', 'h100-80gb', 'h100-sxm5', 'h100-sxm-80gb', 'h100-80gb-hbm3'], [80, 79.1, 3350, 989, 67, 450], `${STAS}; ${LLM_ANALYSIS}`),
  cuda('NVIDIA H100-PCIe', ['h100-pcie-80gb'], [80, 79.1, 2000, 756, 51, PCIE5], `${STAS}; ${LLM_ANALYSIS}`),
  cuda('NVIDIA H200-SXM', ['h200', 'h200-141gb'], [141, 139.8, 4800, 989, 67, 450], STAS),
  cuda('NVIDIA B200-SXM', ['b200', 'b200-180gb'], [180, 178.3, 8000, 2250, 80, 900], `${STAS}; link from the maker's data sheet`),
  cuda('NVIDIA GeForce RTX 3060', [], [12, null, 360, 25.5, 12.7, PCIE4], CYBIRD, GEFORCE),
  cuda('NVIDIA GeForce RTX 3080 10GB', ['rtx-3080'], [10, null, 760, 59.5, 29.8, PCIE4], CYBIRD, GEFORCE),
  cuda('NVIDIA GeForce RTX 3090', [], [24, 23.69, 936, 71, 35.6, PCIE4], CYBIRD, GEFORCE),
  cuda('NVIDIA GeForce RTX 4060 Ti 16GB', ['rtx-4060-ti'], [16, null, 288, 44.1, 22.1, PCIE3], CYBIRD, `${GEFORCE}; also with 8 GB: rtx-4060-ti:8GiB`),
  cuda('NVIDIA GeForce RTX 4070', [], [12, null, 504, 58.3, 29.15, PCIE4], CYBIRD, GEFORCE),
  cuda('NVIDIA GeForce RTX 4080', [], [16, null, 716.8, 97.5, 48.74, PCIE4], CYBIRD, GEFORCE),
  cuda('NVIDIA GeForce RTX 4090', [], [24, 23.64, 1008, 165.2, 82.58, PCIE4], `${CYBIRD}; pytorch issue 123157`, GEFORCE),
  cuda('NVIDIA GeForce RTX 5090', [], [32, null, 1792, 209.5, 104.8, PCIE5], `${CYBIRD}; VladislavDuma/gpu_specs`, GEFORCE),
  row('rocm', 'AMD RX 7900 XTX', ['7900xtx'], [24, null, 960, 122.8, 61.4, PCIE4], `${EXO}; bandwidth from the maker's data sheet`, 'the f32 rate assumes dual issue'),
  row('rocm', 'AMD MI210', [], [64, null, 1638, 181, 22.6, 50], `${LLM_ANALYSIS}; f32 from the maker's data sheet`, ''),
  row('rocm', 'AMD MI250 (one of its two GCDs)', ['mi250', 'mi250x'], [64, null, 1638, 181, 22.6, 50], `${STAS}; ${LLM_ANALYSIS}`, 'a card is two devices to PyTorch: 8 cards are 16xMI250'),
  row('rocm', 'AMD MI300X', [], [192, null, 5300, 1307, 163.4, 448], STAS, ''),
  apple('M1', 16, 68.25, 2.29), apple('M1 Pro', 32, 200, 5.3), apple('M1 Max', 64, 400, 10.6), apple('M1 Ultra', 128, 800, 21.2),
  apple('M2', 24, 100, 3.55), apple('M2 Pro', 32, 200, 5.68), apple('M2 Max', 96, 400, 13.49), apple('M2 Ultra', 192, 800, 26.98),
  apple('M3', 24, 100, 3.55), apple('M3 Pro', 36, 150, 4.97), apple('M3 Max', 128, 400, 14.2), apple('M3 Ultra', 512, 819, null),
  apple('M4', 32, 120, 4.26), apple('M4 Pro', 64, 273, null), apple('M4 Max', 128, 546, 18.03),
  row('tpu', 'Google TPU v4', ['v4'], [32, null, 1200, 275, null, 300], `${TPU}/v4`, 'link from 2400 Gbit/s per chip'),
  row('tpu', 'Google TPU v5e', ['v5e', 'tpu-v5-lite'], [16, null, 819, 197, null, 200], `${TPU}/v5e`, 'link: half of 400 GB/s in both directions'),
  row('tpu', 'Google TPU v5p', ['v5p'], [95, null, 2765, 459, null, 600], `${TPU}/v5p`, 'link from 4800 Gbit/s per chip'),
  row('tpu', 'Google TPU v6e', ['v6e', 'trillium'], [32, null, 1638, 918, null, 400], `${TPU}/v6e`, 'link: half of 800 GB/s in both directions'),
];

/** As names are compared: without maker, case and signs. */
export function plainName(text: string): string {
  return text.toLowerCase().replace(/\b(nvidia|geforce|amd|radeon|instinct|google|apple|tesla)\b/g, '').replaceAll(/[^a-z0-9]/g, '');
}
