/**
 * The folder through which launcher and ranks speak. Ranks write `rank-<r>.json`: where they are, and at last what they died of; a file's time is the
 * last sign of life. The launcher puts `stop` and `checkpoint` there. The other side is `worker/fulltune_worker/signs.py`.
 */

import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

const bytes = z.number().min(0);
const failure = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('mistake'), message: z.string(), remedy: z.string() }),
  z.object({ kind: z.literal('not-finite'), message: z.string() }),
  z.object({ kind: z.literal('out-of-memory'), message: z.string(), allocatedBytes: bytes, reservedBytes: bytes, residentBytes: bytes, totalBytes: bytes.nullable() }),
  z.object({ kind: z.literal('bug'), message: z.string() }),
]);

const signSchema = z.object({
  rank: z.int().min(0), pid: z.int(), host: z.string(), phase: z.enum(['starting', 'training', 'evaluating', 'saving', 'exporting', 'ended', 'failed']),
  /** The update under way. */
  step: z.int().min(0),
  failure: failure.exactOptional(),
});

export type RankFailure = z.output<typeof failure>;

export interface RankSign extends z.output<typeof signSchema> {
  /** When it was written, milliseconds since 1970. */
  readonly at: number;
}

export class Signs {
  private readonly folder: string;

  /** What an earlier start left there is removed. */
  constructor(folder: string) {
    this.folder = folder;
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
  }

  /** The ranks that have given one, in order. */
  read(): readonly RankSign[] {
    return readdirSync(this.folder).filter((name) => /^rank-\d+\.json$/.test(name)).flatMap((name) => {
      const path = join(this.folder, name);
      try {
        const parsed = signSchema.safeParse(JSON.parse(readFileSync(path, 'utf8')));
        return parsed.success ? [{ ...parsed.data, at: statSync(path).mtimeMs }] : [];
      } catch {
        return []; // replaced in this moment; it is read again soon
      }
    }).toSorted((a, b) => a.rank - b.rank);
  }

  askToStop(): void {
    writeFileSync(join(this.folder, 'stop'), '');
  }

  askForCheckpoint(): void {
    writeFileSync(join(this.folder, 'checkpoint'), '');
  }
}
