/** What was measured on a machine: the rates from which the time model predicts. Plain data, stored as JSON. */

/** Multiply-adds of one product per second, times 2, at one size. */
export interface ProductRate {
  readonly op: string;
  readonly tokens: number;
  /** The two widths of the weight. */
  readonly inner: number;
  readonly outer: number;
  readonly flopsPerSecond: number;
}

/** FLOPs per second at one row length and width of a head: narrow heads spend more of their time on the softmax. */
export interface AttentionRate {
  readonly op: string;
  readonly length: number;
  readonly headWidth: number;
  readonly flopsPerSecond: number;
}

export interface Calibration {
  readonly version: 2;
  /** Processor, kernels and threads: figures hold for nothing else. */
  readonly machine: string;
  readonly products: readonly ProductRate[];
  /** Speed with weights or activations of 16 bits, as a share of that in f32. */
  readonly halfStorageShare: number;
  readonly attention: readonly AttentionRate[];
  /** Bytes per second, as the ops count the bytes that they move, by op; ops that are absent get the median. */
  readonly bytesPerSecond: Readonly<Record<string, number>>;
  /** FLOPs per second of compute-bound ops that are neither products nor attention, by op. */
  readonly flopsPerSecond: Readonly<Record<string, number>>;
  /** Beginning and ending one instruction. */
  readonly instructionMs: number;
  readonly diskReadBytesPerSecond: number;
  readonly diskWriteBytesPerSecond: number;
  /** Share of the processors that other programs had meanwhile, 0 to 1. */
  readonly othersShare?: number;
}

/** A guess at an ordinary machine, per thread, for planning where nothing was measured. */
export function genericCalibration({ threads }: { readonly threads: number }): Calibration {
  const flops = 85e9 * threads;
  return {
    version: 2,
    machine: 'guessed',
    products: ['matmul_nn', 'matmul_nt', 'matmul_tn'].map((op) => ({ op, tokens: 512, inner: 576, outer: 576, flopsPerSecond: flops })),
    halfStorageShare: 0.95,
    attention: ['attention', 'attention_backward'].map((op) => ({ op, length: 512, headWidth: 64, flopsPerSecond: 0.65 * flops })),
    bytesPerSecond: { add: 12e9 },
    flopsPerSecond: {},
    instructionMs: 0.005,
    diskReadBytesPerSecond: 1e9,
    diskWriteBytesPerSecond: 5e8,
  };
}

/** Checks that a stored calibration is one; undefined when it is not. */
export function parseCalibration(json: unknown): Calibration | undefined {
  if (typeof json !== 'object' || json === null) return undefined;
  const found = json as Partial<Calibration>;
  if (typeof (found.othersShare ?? 0) !== 'number') return undefined;
  const numbers = [found.halfStorageShare, found.instructionMs, found.diskReadBytesPerSecond, found.diskWriteBytesPerSecond];
  const rates = [...(found.products ?? []), ...(found.attention ?? [])].map((point) => point.flopsPerSecond);
  const others = [...Object.values(found.bytesPerSecond ?? {}), ...Object.values(found.flopsPerSecond ?? {})];
  const isWhole = found.version === 2 && typeof found.machine === 'string' && (found.products?.length ?? 0) > 0 && (found.attention?.length ?? 0) > 0 && others.length > 0;
  return isWhole && [...numbers, ...rates, ...others].every((value) => typeof value === 'number' && Number.isFinite(value) && value > 0) ? (json as Calibration) : undefined;
}
