import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { techniquesReference } from './reference.ts';

it('is what docs/techniques.md shows', () => {
  const page = readFileSync(new URL('../../docs/techniques.md', import.meta.url), 'utf8');
  expect(page.includes(techniquesReference()), 'run: npm run build && node tools/write-techniques-docs.js').toBe(true);
});
