/**
 * JSON.parse keeps the last of two equal keys and says nothing, which in a file that maps names to places would hide a tensor; and nesting
 * without limit can use up the memory. Here both are errors.
 */

const MAX_DEPTH = 32;

/** Throws SyntaxError with a reason that completes "…: ". */
export function parseStrictJson(text: string): unknown {
  checkKeysAndDepth(text);
  return JSON.parse(text) as unknown;
}

function checkKeysAndDepth(text: string): void {
  // One entry per open bracket: the keys seen so far of an object, null for an array.
  const open: (Set<string> | null)[] = [];
  for (let at = 0; at < text.length; at++) {
    switch (text[at]) {
      case '{':
      case '[':
        open.push(text[at] === '{' ? new Set() : null);
        if (open.length > MAX_DEPTH) throw new SyntaxError(`brackets are nested deeper than ${MAX_DEPTH}`);
        break;
      case '}':
      case ']':
        open.pop();
        break;
      case '"': {
        const end = stringEnd(text, at);
        const keys = open.at(-1);
        if (keys !== null && keys !== undefined && colonFollows(text, end)) {
          const key = String(JSON.parse(text.slice(at, end)));
          if (keys.has(key)) throw new SyntaxError(`the key '${key.slice(0, 80)}' occurs twice`);
          keys.add(key);
        }
        at = end - 1;
        break;
      }
      default:
    }
  }
}

/** The position after the closing quote of the string that opens at `start`. */
function stringEnd(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0;
    while (text[quote - 1 - backslashes] === '\\') backslashes++;
    if (backslashes % 2 === 0) return quote + 1;
  }
  throw new SyntaxError('a string does not end');
}

function colonFollows(text: string, end: number): boolean {
  let at = end;
  while (text[at] === ' ' || text[at] === '\n' || text[at] === '\r' || text[at] === '\t') at++;
  return text[at] === ':';
}
