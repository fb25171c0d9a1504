import { createHash } from 'node:crypto';
import { Script } from 'node:vm';
import { describe, expect, it } from 'vitest';
import type { FrontierPoint } from '../index.ts';
import { escapeHtml } from './html.ts';
import { renderMemoryPage, type MemoryPage } from './memory-page.ts';
import { samplePicture, sampleReport } from './testing/sample-picture.ts';

const POINTS: readonly FrontierPoint[] = [
  { forecastBytes: 2048, stepMs: 800, tokensPerSecond: 5120.4, numerics: 'bitwise', summary: 'everything <kept>', changes: ['no recompute'], chosen: false },
  { forecastBytes: 1256, stepMs: 1500, tokensPerSecond: 2730, numerics: 'changed', summary: 'bf16', changes: [], chosen: true },
];

const render = (changes: Partial<MemoryPage> = {}): string =>
  renderMemoryPage({ title: 'Memory of <b>', facts: [['model', 'a & b "c"']], report: sampleReport(), picture: samplePicture(), frontier: [], ...changes });

const between = (html: string, open: RegExp, close: string): string => {
  const start = open.exec(html);
  if (start === null) throw new Error(`the page has no ${open.source}`);
  const from = start.index + start[0].length;
  return html.slice(from, html.indexOf(close, from));
};

describe('renderMemoryPage', () => {
  const html = render({ frontier: POINTS, budgetBytes: 1100 });

  it('escapes every name', () => {
    expect(html).toContain('<h1>Memory of &lt;b&gt;</h1>');
    expect(html).toContain('<dd>a &amp; b &quot;c&quot;</dd>');
    expect(html).toContain('<option selected>step &lt;/script&gt;</option>');
    expect(html).toContain('everything &lt;kept&gt;');
    expect(html.match(/<\/script>/g)).toHaveLength(2);
    expect(escapeHtml(`<a href='x'>&"`)).toBe('&lt;a href=&#39;x&#39;&gt;&amp;&quot;');
  });

  it('carries the whole picture as data', () => {
    const data: unknown = JSON.parse(between(html, /<script type="application\/json" id="data">/, '</script>'));
    expect(data).toEqual({ picture: samplePicture(), frontier: POINTS, budgetBytes: 1100, peakProgram: 'step </script>' });
  });

  it('allows its own style and script by their hashes, and nothing else', () => {
    const policy = between(html, /http-equiv="Content-Security-Policy" content="/, '"').replaceAll('&#39;', "'");
    const hash = (text: string): string => `sha256-${createHash('sha256').update(text).digest('base64')}`;
    expect(policy).toBe(`default-src 'none'; style-src '${hash(between(html, /<style>/, '</style>'))}'; script-src '${hash(between(html, /<script>/, '</script>'))}'; ` +
      `img-src data:; base-uri 'none'; form-action 'none'`);
    expect(html).not.toMatch(/<[^>]* (style|on\w+)=/);
    expect(html.replaceAll('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:|@import|url\(/);
  });

  it('has one script that is whole: it parses, and nothing in it imports', () => {
    const script = between(html, /<script>/, '</script>');
    expect(() => new Script(script)).not.toThrow();
    expect(script).not.toMatch(/^\s*(import|export)\b/m);
  });

  it('writes the numbers of the report, exact ones beside those for people', () => {
    expect(html).toContain('<data value="1256" title="1,256 bytes">1.2 KiB</data>');
    expect(between(html, /<table id="classes">/, '</table>')).toContain('parameter</th><td><data value="128" title="128 bytes">128 B</data></td><td>50 %</td>');
    expect(between(html, /<table id="groups"[^>]*>/, '</table>')).toContain('<th scope="row">layers.0 … layers.1 (each)</th><td><data value="128" title="128 bytes">128 B</data></td>');
    expect(between(html, /<table id="programs"[^>]*>/, '</table>')).toContain('<td>3</td>');
    expect(html).toContain('156 B too little');
  });

  it('shows plans to choose from, smallest first, only when there are any', () => {
    const table = between(html, /<table id="points"[^>]*>/, '</table>');
    expect(table.indexOf('<b>chosen:</b> bf16')).toBeLessThan(table.indexOf('everything &lt;kept&gt;'));
    expect(table).toContain('<td>800 ms</td><td>5,120</td>');
    expect(table).toContain('no recompute');
    expect(render()).not.toContain('id="frontier"');
  });
});
