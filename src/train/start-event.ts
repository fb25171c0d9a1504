/** The first event of a run: everything that was decided before it. */

import { elementCount } from '../graph/shape.ts';
import type { StartEvent } from '../run/events.ts';
import { explainPlan, type PreparedRun } from './prepare-run.ts';

export interface StartFacts {
  readonly runDirectory: string;
  readonly totalSteps: number;
  readonly startStep: number;
  readonly rowsPerEpoch: number;
  /** Besides the notices of model and data. */
  readonly notices: readonly string[];
}

export function startEvent(prepared: PreparedRun, facts: StartFacts): StartEvent {
  const { model, data, planned, device, choices } = prepared;
  const { plan, report } = planned;
  const frozen = new Set(plan.frozen);
  const elements = (counts: (name: string) => boolean): number =>
    model.parameters.filter(({ name }) => counts(name)).reduce((sum, { shape }) => sum + elementCount(shape), 0);
  const { documents, tokens, trainedTokens, cut, split } = data.statistics;
  return {
    kind: 'start',
    runDirectory: facts.runDirectory,
    model: { name: model.name, type: model.config.modelType, parameters: elements(() => true), trained: elements((name) => !frozen.has(name)) },
    data: { documents, tokens, trainedTokens, cut, split, rowsPerEpoch: facts.rowsPerEpoch, rowLength: plan.packing.rowLengths.at(-1)! },
    batch: plan.batch,
    totalSteps: facts.totalSteps,
    startStep: facts.startStep,
    device: device.description,
    memory: {
      arenaBytes: report.arenaBytes, peakLiveBytes: report.peakLiveBytes, forecastBytes: report.forecastBytes,
      atPeak: Object.fromEntries(report.classes.map(({ storage, bytes }) => [storage, bytes])),
    },
    choices,
    techniques: explainPlan(planned),
    notices: [...prepared.notices, ...facts.notices],
    example: data.example,
  };
}
