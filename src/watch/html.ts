/** Text into HTML, and the parts that every page of fulltune has: one file, nothing loaded from elsewhere. */

import { createHash } from 'node:crypto';

/** Safe as the content of an element and inside a quoted attribute. */
export function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;').replaceAll("'", '&#39;');
}

/** JSON for a `<script type="application/json">`: the browser finds no tag in it, `JSON.parse` gives the data back. */
export function embedJson(data: unknown): string {
  return JSON.stringify(data).replaceAll('<', '\\u003c');
}

/** A page whose policy lets run and load nothing but this very style and script. `body` is HTML; it carries no style attributes. */
export function renderDocument({ title, style, script, body }: { readonly title: string; readonly style: string; readonly script: string; readonly body: string }): string {
  const policy = [
    "default-src 'none'", `style-src '${sourceHash(style)}'`, `script-src '${sourceHash(script)}'`, 'img-src data:', "base-uri 'none'", "form-action 'none'",
  ].join('; ');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${escapeHtml(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="fulltune">
<title>${escapeHtml(title)}</title>
<link rel="icon" href="data:,">
<style>${style}</style>
</head>
<body>
${body}
<script>${script}</script>
</body>
</html>
`;
}

function sourceHash(text: string): string {
  return `sha256-${createHash('sha256').update(text, 'utf8').digest('base64')}`;
}
