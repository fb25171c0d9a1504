import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { torchPlanContradiction } from '../run/torch-plan-schema.ts';
import { jobSchema } from './job-schema.ts';

const fixtures = fileURLToPath(new URL('../../worker/tests/fixtures', import.meta.url));
const read = (name: string): unknown => JSON.parse(readFileSync(join(fixtures, name), 'utf8'));

interface Case {
  readonly name: string;
  readonly accepted: boolean;
  readonly set: Readonly<Record<string, unknown>>;
  readonly remove?: readonly string[];
}

function changed({ set, remove = [] }: Case): unknown {
  const job = structuredClone(read('job.json')) as Record<string, unknown>;
  for (const path of [...Object.keys(set), ...remove]) {
    const keys = path.split('.');
    const last = keys.pop()!;
    const place = keys.reduce((object, key) => object[key] as Record<string, unknown>, job);
    if (path in set) place[last] = set[path];
    else delete place[last];
  }
  return job;
}

function accepts(job: unknown): boolean {
  const parsed = jobSchema.safeParse(job);
  return parsed.success && torchPlanContradiction(parsed.data.plan) === undefined;
}

describe('a job', () => {
  // The worker's own tests go through the same cases: worker/tests/test_job.py.
  it.each(read('cases.json') as readonly Case[])('$name', (example) => {
    expect(accepts(changed(example))).toBe(example.accepted);
  });
});
