/** Prints the suite's closing line, alone on a line: `tests: 812 passed, 0 failed, 0 skipped`. A file that does not load counts as failed. */

/** @implements {import('vitest/reporters').Reporter} */
export default class ClosingLine {
  onTestRunEnd(/** @type {ReadonlyArray<import('vitest/node').TestModule>} */ modules, /** @type {readonly unknown[]} */ errors) {
    const counts = { passed: 0, failed: errors.length, skipped: 0 };
    for (const module of modules) {
      let failed = 0;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === 'pending') counts.skipped++; // began and never ended, or was not run: not a pass
        else counts[state]++;
        if (state === 'failed') failed++;
      }
      if (module.state() === 'failed' && failed === 0) counts.failed++;
    }
    process.stdout.write(`tests: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
  }
}
