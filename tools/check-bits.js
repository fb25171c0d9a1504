/**
 * Every kernel gives the same bits on AVX2, AVX-512 and NEON: on those of them that this processor has, and, on x86, on NEON under emulation (needs
 * aarch64-linux-gnu-gcc and qemu-aarch64). native/testing/same_bits.c runs the kernels; here its lines are compared.
 */

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('../native/testing/build.sh', import.meta.url));
const EMULATED = { TEST_MACHINE: 'aarch64', CC: 'aarch64-linux-gnu-gcc', TEST_RUN: 'qemu-aarch64' };
/** Rounds twice where the others fuse. */
const UNFUSED = 'baseline';

/** @param {readonly string[]} flags @param {Record<string, string>} env */
function hashes(flags, env = {}) {
  const text = execFileSync('sh', [script, 'same_bits', ...flags], { encoding: 'utf8', maxBuffer: 1 << 26, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] });
  return text.trim().split('\n').map((line) => /^(\S+) (.*): (.*)$/.exec(line) ?? fail(`not understood: ${line}`)).map(([, target, name, hash]) => ({ target, name, hash }));
}

/** @param {string} message @returns {never} */
function fail(message) {
  console.error(message);
  process.exit(1);
}

const all = [...hashes([]), ...(process.arch === 'x64' ? hashes(['-static'], EMULATED) : [])].filter(({ target }) => target !== UNFUSED);
const targets = [...new Set(all.map(({ target }) => target))];
if (targets.length < 2) fail(`only ${targets.join(', ')} could be run here: nothing to compare`);
const byName = grouped(all);
let [passed, failed] = [0, 0];
for (const [name, some] of byName) {
  const [first, ...others] = some;
  const differing = others.filter(({ hash }) => hash !== first.hash).map(({ target }) => target);
  if (differing.length > 0 || some.length !== targets.length) {
    failed++;
    console.log(`FAIL ${name}: ${differing.length > 0 ? `${differing.join(', ')} differs from ${first.target}` : `run on ${some.map(({ target }) => target).join(', ')} only`}`);
  } else {
    passed++;
  }
}
console.log(`${targets.join(', ')}: ${passed} of ${byName.size} results of kernels have the same bits`);
console.log(`tests: ${passed} passed, ${failed} failed, 0 skipped`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);

/** By name (Node 20 has no Map.groupBy). @param {typeof all} items */
function grouped(items) {
  /** @type {Map<string, typeof all>} */
  const groups = new Map();
  for (const item of items) groups.set(item.name, [...(groups.get(item.name) ?? []), item]);
  return groups;
}
