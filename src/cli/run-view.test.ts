import { describe, expect, it } from 'vitest';
import type { RunEvent } from '../run/events.ts';
import { textView } from './run-view.ts';
import { recorder } from './testing/recorder.ts';
import { END, START, STEP } from './testing/sample-events.ts';

const checkpoint = (step: number): RunEvent => ({ kind: 'checkpoint', step, path: `runs/x/checkpoint-${step}`, bytes: 1024, saveMs: 10 });

function shown(events: readonly RunEvent[], live = false): string {
  const terminal = recorder({ live });
  const view = textView(terminal, { dataset: 'd.jsonl' });
  for (const event of events) view.show(event.kind === 'start' ? { ...event, totalSteps: 9 } : event);
  view.close();
  return terminal.out;
}

const saved = (text: string): readonly string[] => [...text.matchAll(/checkpoint-(\d+)  /g)].map(([, step = '']) => step);

describe('checkpoints', () => {
  it('are told one by one between other lines', () => {
    expect(saved(shown([START, STEP, checkpoint(1), { ...STEP, step: 2 }, checkpoint(2), END]))).toEqual(['1', '2']);
  });

  it('are told first and last where nothing else is told in between', () => {
    expect(saved(shown([START, checkpoint(1), checkpoint(2), checkpoint(3), STEP, checkpoint(4), checkpoint(5), END]))).toEqual(['1', '3', '4', '5']);
    expect(saved(shown([START, checkpoint(1), checkpoint(2), checkpoint(3)]))).toEqual(['1', '3']); // the run failed after it
  });

  it('stand in the line that is written over', () => {
    const text = shown([START, STEP, checkpoint(1), { ...STEP, step: 2 }, checkpoint(2), { ...STEP, step: 3 }, checkpoint(3), { ...STEP, step: 4 }, END], true);
    expect(saved(text)).toEqual(['1', '3']);
    expect(text).toContain('saved 2');
  });
});
