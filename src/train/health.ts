/**
 * How well updates arrive in the weights: now and then, up to 1024 fixed elements of every trained tensor are read before and after an update.
 * An element whose stored bits did not change has lost its update to rounding: with a small learning rate and few mantissa bits, most do.
 */

import type { HealthEvent, WarningEvent } from '../run/events.ts';
import { dtypeBytes, type DType } from '../graph/dtype.ts';
import { elementCount } from '../graph/shape.ts';
import type { Parameter } from '../models/parameters.ts';
import type { PreparedRun } from './prepare-run.ts';
import type { TrainingState } from './training-state.ts';

/** Every so many steps an update is measured; the first of a run is, too. */
const EVERY_STEPS = 10;
/** Elements of a tensor, in runs of neighbours that are spread evenly: each run is one read. */
const SAMPLE_ELEMENTS = 1024;
const RUN_ELEMENTS = 128;
/** More than half of all updates lost is no accident of single small gradients. */
const WARNING_SHARE = 0.5;
/** Rates far below the peak (warm-up, the end of the decay) lose updates by design. */
const NEAR_PEAK = 0.5;

/** Eight bits usually lose 1-2 %; far more means that single elements dwarf their blocks. */
const COARSE = 0.1;
const STATE = '8-bit moments';

export interface HealthOptions {
  readonly parameters: readonly Pick<Parameter, 'name' | 'kind'>[];
  readonly frozen: readonly string[];
  /** Whether weights narrower than f32 are rounded stochastically: then an update is never lost in the mean. */
  readonly stochasticRounding: boolean;
  /** The rate that the schedule rises to and falls from. */
  readonly peakLearningRate: number;
}

/** What a step tells. `gradientNorm` 0: nothing was to be learned; null: it was not finite, and the update was left out. */
export interface StepHealth {
  readonly step: number;
  readonly learningRate: number;
  readonly gradientNorm: number | null;
  /** The update was left out because loss or gradients were not finite. */
  readonly skipped?: boolean;
  readonly lossScale?: number;
  readonly quantisationError?: number;
}

interface Sample {
  readonly group: string;
  readonly dtype: DType;
  /** Where each run begins, bytes from the start of the arena. */
  readonly offsets: readonly number[];
  readonly runBytes: number;
  /** The bits of the runs, as last read. */
  readonly bits: Uint8Array;
}

/** The meter of a run that has done `step` steps. */
export function healthMeter(state: TrainingState, { model, planned, settings }: PreparedRun, step: number): HealthMeter {
  const { frozen, precision } = planned.plan;
  return new HealthMeter(state, step, {
    parameters: model.parameters, frozen, stochasticRounding: precision.weights === 'bf16', peakLearningRate: settings.learning_rate,
  });
}

export class HealthMeter {
  private readonly state: TrainingState;
  private readonly options: HealthOptions;
  private readonly samples: readonly Sample[];
  private readonly warned = new Set<string>();
  /** The step after which the samples were read. */
  private sampledAt: number;
  private nonFiniteSteps = 0;
  private scale: number | undefined;
  private scaleChanges: { readonly step: number; readonly scale: number }[] = [];

  /** Begins behind `step`: the update after it is the first to be measured. */
  constructor(state: TrainingState, step: number, options: HealthOptions) {
    this.state = state;
    this.options = options;
    this.samples = samplesOf(state, options);
    this.sampledAt = step;
    for (const sample of this.samples) this.changed(sample);
  }

  /** To be called after every step. At a measured one: what was found, and a warning where it is bad for the first time. */
  afterStep(health: StepHealth): readonly (HealthEvent | WarningEvent)[] {
    this.note(health);
    const { step } = health;
    const events = this.sampledAt === step - 1 ? this.measure(health) : [];
    if ((step + 1) % EVERY_STEPS === 0) {
      for (const sample of this.samples) this.changed(sample);
      this.sampledAt = step;
    }
    return events;
  }

  private note({ step, skipped, lossScale }: StepHealth): void {
    if (skipped === true) this.nonFiniteSteps++;
    if (lossScale === undefined || lossScale === this.scale) return;
    this.scale = lossScale;
    this.scaleChanges.push({ step, scale: lossScale });
  }

  private measure({ step, learningRate, gradientNorm, skipped, quantisationError }: StepHealth): readonly (HealthEvent | WarningEvent)[] {
    const moves = skipped !== true && learningRate !== 0 && gradientNorm !== 0;
    const groups = moves ? this.lostByGroup() : new Map<string, Lost>();
    const event: HealthEvent = {
      kind: 'health', step,
      lost: Object.fromEntries([...groups].map(([group, { unchanged, elements }]) => [group, unchanged / elements])),
      nonFiniteSteps: this.nonFiniteSteps,
      ...(this.scale === undefined ? {} : { lossScale: { now: this.scale, changes: this.scaleChanges } }),
      ...(quantisationError === undefined ? {} : { quantisationError }),
    };
    this.scaleChanges = [];
    const coarse = quantisationError === undefined ? [] : this.warningOfState(quantisationError, step);
    const warnings = learningRate < NEAR_PEAK * this.options.peakLearningRate ? [] : [...groups].flatMap(([group, lost]) => this.warningOf(group, lost, { step, learningRate }));
    return [event, ...coarse, ...warnings];
  }

  private lostByGroup(): ReadonlyMap<string, Lost> {
    const groups = new Map<string, Lost>();
    for (const sample of this.samples) {
      const elements = sample.bits.byteLength / dtypeBytes(sample.dtype);
      const { unchanged: before, elements: all } = groups.get(sample.group) ?? { unchanged: 0, elements: 0 };
      groups.set(sample.group, { unchanged: before + elements - this.changed(sample), elements: all + elements, dtype: sample.dtype });
    }
    return groups;
  }

  private warningOf(group: string, { unchanged, elements, dtype }: Lost, at: { readonly step: number; readonly learningRate: number }): readonly WarningEvent[] {
    if (unchanged <= WARNING_SHARE * elements || this.warned.has(group)) return [];
    this.warned.add(group);
    const remedy = dtype === 'f32' ? 'raise --learning-rate' : 'raise --learning-rate, or keep the weights in f32';
    const share = `${((100 * unchanged) / elements).toFixed(0)} %`;
    return [{ kind: 'warning', message: `${share} of the updates of ${group} are lost to rounding at step ${at.step} (learning rate ${at.learningRate}, ${dtype} weights): ${remedy}` }];
  }

  private warningOfState(error: number, step: number): readonly WarningEvent[] {
    if (error <= COARSE || this.warned.has(STATE)) return [];
    this.warned.add(STATE);
    return [{ kind: 'warning', message: `8-bit moments are off by ${(100 * error).toFixed(0)} % of their size at step ${step}: use --optim adamw, or adafactor where that needs too much memory` }];
  }

  /** Reads the sample again and keeps it: how many elements have other bits than before. */
  private changed({ dtype, offsets, runBytes, bits }: Sample): number {
    const width = dtypeBytes(dtype);
    let changed = 0;
    offsets.forEach((offset, run) => {
      const now = this.state.arena.read(offset, runBytes);
      const before = bits.subarray(run * runBytes, (run + 1) * runBytes);
      for (let at = 0; at < runBytes; at += width) {
        for (let byte = at; byte < at + width; byte++) {
          if (now[byte] === before[byte]) continue;
          changed++;
          break;
        }
      }
      before.set(now);
    });
    return changed;
  }
}

interface Lost {
  readonly unchanged: number;
  readonly elements: number;
  readonly dtype?: DType;
}

function samplesOf(state: TrainingState, { parameters, frozen, stochasticRounding }: HealthOptions): readonly Sample[] {
  const kinds = new Map(parameters.map(({ name, kind }) => [name, kind]));
  const left = new Set(frozen);
  return state.blocks('parameter').flatMap(({ value }): readonly Sample[] => {
    const { offset } = state.block(value.name);
    const kind = kinds.get(value.name);
    if (kind === undefined || kind === 'embedding' || left.has(value.name) || (stochasticRounding && value.dtype !== 'f32')) return [];
    const count = elementCount(value.shape);
    const width = dtypeBytes(value.dtype);
    const runs = count <= SAMPLE_ELEMENTS ? 1 : SAMPLE_ELEMENTS / RUN_ELEMENTS;
    const length = count <= SAMPLE_ELEMENTS ? count : RUN_ELEMENTS;
    const offsets = Array.from({ length: runs }, (_, run) => offset + Math.floor((run * (count - length)) / Math.max(1, runs - 1)) * width);
    return [{ group: groupOf(value.name, kind), dtype: value.dtype, offsets, runBytes: length * width, bits: new Uint8Array(runs * length * width) }];
  });
}

/** The part of the model that a parameter belongs to, by its Hugging Face name. */
function groupOf(name: string, kind: Parameter['kind']): string {
  if (kind === 'norm' || /(^|\.)(ln_\w+|\w*norm)\./.test(name)) return 'norm';
  if (/(^|\.)(self_)?attn\./.test(name)) return 'attention';
  if (/(^|\.)mlp\./.test(name)) return 'mlp';
  return /(^|\.)lm_head\./.test(name) ? 'head' : 'other';
}
