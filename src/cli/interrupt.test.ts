import { describe, expect, it } from 'vitest';
import { isInterruption, withInterrupt } from './interrupt.ts';

describe('withInterrupt', () => {
  it('aborts at the first signal and exits with 130 at the second', async () => {
    const said: string[] = [];
    const before = process.listenerCount('SIGINT') + process.listenerCount('SIGTERM');
    const result = await withInterrupt((signal) => {
      process.emit('SIGINT');
      said.push(`aborted ${signal.aborted}`);
      process.emit('SIGTERM');
      process.emit('SIGINT');
      return Promise.resolve('done');
    }, { onFirst: () => said.push('first'), onSecond: () => said.push('second'), exit: (code) => said.push(`exit ${code}`) });
    expect([result, ...said]).toEqual(['done', 'first', 'aborted true', 'second', 'exit 130', 'second', 'exit 130']);
    expect(process.listenerCount('SIGINT') + process.listenerCount('SIGTERM')).toBe(before);
  });

  it('takes its listeners away when the work fails', async () => {
    const before = process.listenerCount('SIGINT');
    await expect(withInterrupt(() => Promise.reject(new Error('no')), { onFirst: () => undefined })).rejects.toThrow('no');
    expect(process.listenerCount('SIGINT')).toBe(before);
  });
});

describe('isInterruption', () => {
  it('is what the abort threw, not any failure after it', () => {
    const controller = new AbortController();
    const abort = Object.assign(new Error('x'), { name: 'AbortError' });
    expect(isInterruption(abort, controller.signal)).toBe(false);
    controller.abort();
    expect(isInterruption(abort, controller.signal)).toBe(true);
    expect(isInterruption(controller.signal.reason, controller.signal)).toBe(true);
    expect(isInterruption(new Error('disk full'), controller.signal)).toBe(false);
  });
});
