/** What a failed worker tells the user: which rank, what happened, what is safe, and what to change. */

import { basename } from 'node:path';
import { formatBytes } from '../base/bytes.ts';
import { FulltuneError } from '../base/errors.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import type { TorchPlan } from '../run/torch-plan.ts';
import type { RankSign } from './signs.ts';

export interface FailureFacts {
  readonly plan: TorchPlan;
  readonly runDirectory: string;
  /** The newest complete one. */
  readonly checkpoint: Checkpoint | undefined;
  readonly signs: readonly RankSign[];
  /** How the process that was started ended. */
  readonly exit: { readonly code: number | null; readonly signal: string | null };
  /** Seconds without a sign of life, where that is why the launcher ended the run. */
  readonly silentSeconds: number | undefined;
  readonly logPath: string;
}

export function workerFailure(facts: FailureFacts): FulltuneError {
  const { signs, runDirectory, silentSeconds, logPath } = facts;
  const failed = signs.filter(({ failure }) => failure !== undefined).toSorted((a, b) => order(a) - order(b))[0];
  const where = logPath;
  const resume = safeText(facts);
  if (silentSeconds !== undefined) {
    return new FulltuneError('E_RANK', `the ranks gave no sign of life for ${Math.round(silentSeconds)} s, and the run was ended; ${lastSigns(signs)}`, {
      where, remedy: `${resume}\n  A step that may take so long needs a larger --rank-timeout.`,
    });
  }
  const lost = signs.filter(({ phase }) => phase !== 'ended' && phase !== 'failed');
  const failure = failed?.failure;
  // Ranks that only lost their connection tell nothing: the one that said nothing is the one that died.
  const gone = failure?.kind === 'bug' && LOST_CONNECTION.test(failure.message) && lost.length > 0;
  if (failure === undefined || gone) return new FulltuneError('E_RANK', diedText(lost, facts), { where, remedy: resume });
  switch (failure.kind) {
    case 'mistake':
      return new FulltuneError('E_CONFIG', `rank ${failed!.rank}: ${failure.message}`, { where, remedy: failure.remedy === '' ? resume : failure.remedy });
    case 'not-finite':
      return new FulltuneError('E_NUMERICS', failure.message, { where: runDirectory, remedy: `Lower --learning-rate, add --warmup-steps, or look at the data of this step.\n  ${resume}` });
    case 'out-of-memory':
      return outOfMemory(facts, failed!, failure);
    case 'bug':
      return new FulltuneError('E_RANK', `rank ${failed!.rank} failed at step ${failed!.step}: ${failure.message}`, { where, remedy: resume });
    default:
      return failure satisfies never;
  }
}

/** Those that have been silent longest, of which one holds up the others. */
function lastSigns(signs: readonly RankSign[]): string {
  if (signs.length === 0) return 'none has ever given one';
  const newest = Math.max(...signs.map(({ at }) => at));
  const texts = signs.toSorted((a, b) => a.step - b.step || a.at - b.at).slice(0, SIGNS_SHOWN).map(({ rank, pid, host, phase, step, at }) =>
    `rank ${rank} (process ${pid} on ${host}) ${phase}, step ${step}${at === newest ? '' : `, ${((newest - at) / 1000).toFixed(1)} s before the last of them`}`);
  return `the last signs: ${texts.join('; ')}${signs.length > SIGNS_SHOWN ? '; …' : ''}`;
}

const SIGNS_SHOWN = 8;

/** As gloo, NCCL and torch's store say it. */
const LOST_CONNECTION = /connection (was )?(closed|reset|refused)|broken pipe|\bpeer\b|\bsocket\b|nccl|gloo|DistNetworkError|DistStoreError/i;

/** What a rank says of itself comes before what others saw of it: they only lost their connection. */
function order({ failure }: RankSign): number {
  return ['out-of-memory', 'not-finite', 'mistake', 'bug'].indexOf(failure!.kind);
}

function diedText(lost: readonly RankSign[], { exit, signs }: FailureFacts): string {
  const how = exit.signal === null ? `ended with ${exit.code}` : `was ended by ${exit.signal}`;
  if (signs.length === 0) return `the worker ${how} before any rank gave a sign of life`;
  const who = lost.map(({ rank, pid, host }) => `rank ${rank} (process ${pid} on ${host})`).join(', ');
  const killed = exit.signal === 'SIGKILL' || exit.code === -9 || exit.code === 137 ? ' A process that is killed without a word has often run the machine out of memory: see its kernel log.' : '';
  return `${who || 'the worker'} died at step ${Math.max(...signs.map(({ step }) => step))}: the worker ${how}.${killed}`;
}

function safeText({ runDirectory, checkpoint }: FailureFacts): string {
  return checkpoint === undefined
    ? 'No checkpoint was written yet.'
    : `The last complete checkpoint is ${basename(checkpoint.path)}; from there: fulltune resume ${runDirectory}`;
}

function outOfMemory(facts: FailureFacts, { rank, step }: RankSign, failure: Extract<RankSign['failure'], { kind: 'out-of-memory' }>): FulltuneError {
  const { plan, runDirectory, checkpoint } = facts;
  const onDevice = failure.reservedBytes > 0;
  const had = onDevice
    ? `it had allocated ${formatBytes(failure.allocatedBytes)} and reserved ${formatBytes(failure.reservedBytes)} at the peak${failure.totalBytes === null ? '' : ` of a device with ${formatBytes(failure.totalBytes)}`}`
    : `its resident set was ${formatBytes(failure.residentBytes)} at the peak`;
  const planned = plan.expected === undefined ? 'no peak was planned' : `planned was a peak of ${formatBytes(plan.expected.peakBytes)}`;
  const advice = smallerChange(plan);
  const again = checkpoint === undefined ? 'start the run again with it' : `fulltune resume ${runDirectory} ${advice.flags}`;
  return new FulltuneError('E_BUDGET', `rank ${rank} ran out of memory in step ${step}: ${had}; ${planned}`, {
    where: facts.logPath, remedy: `${advice.text}: ${advice.flags} (${again}).\n  ${safeText(facts)}`,
  });
}

/** The change that costs least of those that the plan does not have yet. */
export function smallerChange({ batch, recompute, loss, precision, optimizer, sharding, worldSize, cpuOffload }: TorchPlan): { readonly text: string; readonly flags: string } {
  if (batch.microBatchSize > 1) return { text: 'Halve the micro-batch; the update stays the same', flags: `--per-device-train-batch-size ${Math.floor(batch.microBatchSize / 2)}` };
  if (loss.kind === 'whole') return { text: 'Never hold all logits at a time', flags: '--chunked-loss' };
  if (recompute.kind !== 'layers') return { text: 'Compute activations again in backward', flags: '--gradient-checkpointing' };
  if (worldSize > 1 && sharding !== 'fsdp') return { text: 'Shard parameters, gradients and optimizer state', flags: '--sharding fsdp' };
  if (sharding === 'fsdp' && !cpuOffload) return { text: 'Keep the shards in the memory of the host', flags: '--cpu-offload' };
  if (precision === 'f32') return { text: 'In a new run: compute in bfloat16', flags: '--bf16' };
  if (optimizer.kind === 'adamw') return { text: 'In a new run: keep moments in eight bits', flags: '--optim adamw_8bit' };
  if (optimizer.kind === 'adamw_8bit') return { text: 'In a new run: keep moments in four bits', flags: '--optim adamw_4bit' };
  return { text: 'In a new run: shorter rows, or more ranks', flags: '--max-length N' };
}
