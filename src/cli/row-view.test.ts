import { describe, expect, it } from 'vitest';
import { PLAIN } from './colour.ts';
import { renderRow } from './row-view.ts';
import { SIGNS } from './testing/recorder.ts';

const PIECES = [{ text: 'ab', trained: false }, { text: 'c', trained: true }, { text: '', trained: false }, { text: 'd\ne', trained: true }];

describe('renderRow', () => {
  it('joins neighbours and marks what is trained', () => {
    expect(renderRow(PIECES, PLAIN)).toBe('ab‹cd\ne›');
    expect(renderRow(PIECES, SIGNS)).toBe('<dim:ab><green:cd>\n<green:e>');
    expect(renderRow(PIECES, PLAIN, { indent: '> ' })).toBe('> ab‹cd\n> e›');
  });

  it('shows so many characters and counts the rest', () => {
    expect(renderRow(PIECES, PLAIN, { most: 3 })).toBe('ab‹c› … (3 more characters)');
    expect(renderRow(PIECES, PLAIN, { most: 2 })).toBe('ab … (4 more characters)');
    expect(renderRow(PIECES, PLAIN, { most: 6 })).toBe('ab‹cd\ne›');
    expect(renderRow([{ text: '🙂🙂🙂', trained: false }], PLAIN, { most: 2 })).toBe('🙂🙂 … (1 more character)');
  });

  it('shortens a long untrained beginning, so that trained tokens are seen', () => {
    const long = [{ text: 'p'.repeat(100), trained: false }, { text: 'answer'.repeat(10), trained: true }];
    expect(renderRow(long, PLAIN, { most: 20 })).toBe('ppppp … (90 characters) … ppppp‹answeransw› … (50 more characters)');
    expect(renderRow([{ text: 'p'.repeat(100), trained: false }, { text: 'yes', trained: true }], PLAIN, { most: 20 })).toBe('ppppp … (83 characters) … pppppppppppp‹yes›');
    expect(renderRow([{ text: 'p'.repeat(30), trained: false }], PLAIN, { most: 20 })).toBe(`${'p'.repeat(20)} … (10 more characters)`);
  });

  it('shows control characters, so that data cannot move the cursor', () => {
    expect(renderRow([{ text: 'a\u001b[2Jb\r\u009b', trained: false }], PLAIN)).toBe('a␛[2Jb␍␡');
  });
});
