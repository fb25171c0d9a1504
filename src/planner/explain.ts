/** Why each technique has the value it has: the figure of what was not taken. */

import { formatBytes } from '../base/bytes.ts';
import type { PlannedRun, PlanRequest } from '../compile/planned-run.ts';
import type { Choice } from '../run/events.ts';
import { TECHNIQUES } from '../techniques/index.ts';
import type { PlannedTechnique } from '../techniques/technique.ts';
import type { Candidate } from './candidate.ts';
import type { Evaluator } from './evaluate.ts';
import type { Found } from './path.ts';
import { conflictOfOthers, type SpaceRequest } from './space.ts';

export interface ExplainContext {
  readonly evaluator: Evaluator;
  readonly request: SpaceRequest & Pick<PlanRequest, 'memoryBytes'>;
  readonly planned: Pick<PlannedRun, 'fits'>;
}

/** One line per technique, in the order of the table. */
export function reasonsFor(chosen: Candidate, context: ExplainContext): readonly Choice[] {
  return TECHNIQUES.map((technique) => ({ key: technique.name, value: technique.explain(chosen.plan).value, reason: reasonFor(technique, chosen, context) }));
}

function reasonFor(technique: PlannedTechnique, chosen: Candidate, { evaluator, request, planned }: ExplainContext): string {
  const others = evaluator.seen().filter(({ candidate: { plan } }) => !technique.same(plan, chosen.plan) && sameBut(technique, plan, chosen.plan));
  if (others.length === 0) {
    if (technique.proposes) return planned.fits ? 'it fits so' : 'the settings leave nothing else';
    return conflictOfOthers(technique, chosen.plan, request) ?? 'the settings leave nothing else';
  }
  const name = ({ plan }: Candidate): string => technique.brief(plan) || technique.explain(plan).value;
  const faster = others.filter(({ candidate: { stepMs, bytes } }) => stepMs < chosen.stepMs && bytes > request.memoryBytes);
  if (faster.length > 0) {
    const nearest = leastOf(faster, ({ bytes }) => bytes);
    return `${name(nearest)} would need ${formatBytes(nearest.bytes)}${planned.fits ? '' : ' too'}`;
  }
  const fits = others.filter(({ candidate: { bytes } }) => bytes <= request.memoryBytes);
  const next = fits.length === 0 ? undefined : leastOf(fits, ({ stepMs }) => stepMs);
  if (next !== undefined && next.bytes <= request.memoryBytes) {
    const more = (next.stepMs / chosen.stepMs - 1) * 100;
    return more < 0.05 ? `${name(next)} would be no faster` : `${name(next)} would take ${more.toFixed(more < 10 ? 1 : 0)} % longer`;
  }
  const smallest = leastOf(others, ({ bytes }) => bytes);
  return `${name(smallest)} would need ${formatBytes(smallest.bytes)}`;
}

/** The one with the least of something. */
function leastOf(list: readonly Found[], of: (candidate: Candidate) => number): Candidate {
  return list.reduce((a, b) => (of(b.candidate) < of(a.candidate) ? b : a)).candidate;
}

/** Whether all techniques that propose nothing, but for this one, have the same value in both plans. */
function sameBut(technique: PlannedTechnique, a: Candidate['plan'], b: Candidate['plan']): boolean {
  return TECHNIQUES.every((other) => other === technique || other.proposes || dependents(technique).includes(other.name) || other.same(a, b));
}

/** Techniques whose values go along with another's: without accumulation the update may move into backward. */
function dependents({ stage }: PlannedTechnique): readonly string[] {
  return stage === 'batch' ? ['optimizer in backward'] : [];
}
