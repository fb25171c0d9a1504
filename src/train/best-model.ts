/** Which evaluation was the best so far, and when to stop because none is better any more. */

export interface BestState {
  /** Undefined before the first evaluation. */
  readonly best: { readonly step: number; readonly loss: number } | undefined;
  /** Evaluations since the best one. */
  readonly without: number;
}

export const NO_EVALUATION: BestState = { best: undefined, without: 0 };

export function afterEvaluation(state: BestState, step: number, loss: number): BestState {
  if (state.best === undefined || loss < state.best.loss) return { best: { step, loss }, without: 0 };
  return { ...state, without: state.without + 1 };
}

/** `patience` as `early_stopping_patience`; undefined never stops. */
export function shouldStopEarly(state: BestState, patience: number | undefined): boolean {
  return patience !== undefined && state.without >= patience;
}
