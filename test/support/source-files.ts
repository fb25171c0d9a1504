/** The project's own sources as text, with their imports: what the architecture test looks at. */

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../../', import.meta.url));

export interface SourceFile {
  /** From the root of the project, with `/`: `src/graph/shape.ts`. */
  readonly path: string;
  readonly text: string;
  /** What it imports or re-exports: paths like `path` for own files, the specifier for packages and `node:` modules. */
  readonly imports: readonly string[];
}

/** Files under a folder whose names match, sorted. Not in node_modules, dist or build. */
export function sourceFiles(folder: string, name: RegExp): readonly SourceFile[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && name.test(entry.name))
    .map((entry) => posix.join(...join(entry.parentPath, entry.name).slice(root.length).split(/[\\/]/)))
    .filter((path) => !/(^|\/)(node_modules|dist|build)\//.test(path))
    .toSorted()
    .map((path) => {
      const text = readFileSync(join(root, path), 'utf8');
      return { path, text, imports: importsOf(text).map((specifier) => (specifier.startsWith('.') ? posix.join(dirname(path), specifier) : specifier)) };
    });
}

/** Specifiers of `import … from`, `export … from`, `import '…'` and `import('…')`, each once. */
export function importsOf(text: string): readonly string[] {
  const statements = text.matchAll(/^(?:import|export)\b[^;'"`]*?\bfrom\s*['"]([^'"]+)['"]|^import\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/gm);
  return [...new Set([...statements].map(([, from, bare, dynamic]) => (from ?? bare ?? dynamic)!))];
}

/** The text without comments that stand on lines of their own or end a line. Enough for looking up words. */
export function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '$1');
}

/** Chains a → b → … → a, each once, by depth-first search. */
export function cycles(imports: ReadonlyMap<string, readonly string[]>): readonly (readonly string[])[] {
  const state = new Map<string, 'open' | 'done'>();
  const found: string[][] = [];
  const visit = (path: string, chain: readonly string[]): void => {
    if (state.get(path) === 'done') return;
    if (state.get(path) === 'open') {
      found.push([...chain.slice(chain.indexOf(path)), path]);
      return;
    }
    state.set(path, 'open');
    for (const next of imports.get(path) ?? []) visit(next, [...chain, path]);
    state.set(path, 'done');
  };
  for (const path of imports.keys()) visit(path, []);
  return found;
}

/** Everything that `entry` reaches, itself included: own files and outside modules. */
export function closure(entry: string, imports: ReadonlyMap<string, readonly string[]>): ReadonlySet<string> {
  const reached = new Set<string>();
  const queue = [entry];
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (reached.has(path)) continue;
    reached.add(path);
    queue.push(...(imports.get(path) ?? []));
  }
  return reached;
}
