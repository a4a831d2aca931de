import { writeFileSync } from 'node:fs';
import type { SerializedError } from 'vitest';
import type { Reporter, TestCase, TestModule } from 'vitest/node';

/** Environment variable that names a file for the counts; without it they are printed. */
const SUMMARY_FILE = 'XE_VFIO_TEST_SUMMARY';

/** Why a test was left out that did not say so itself, by its mode. */
const WITHOUT_NOTE: Readonly<Record<string, string>> = {
  run: 'the setup before it failed, or the run ended early',
  only: 'the setup before it failed, or the run ended early',
  skip: 'left out by a filter, or without context.skip(reason)',
  todo: 'to be written',
};

/**
 * Closes a run with the reason of every skipped test and the line
 * `N passed, N failed, N skipped`. A file that could not be loaded and an error outside a test
 * count as failures, so that a run without a failed test never looks like a pass by mistake.
 */
export class SummaryReporter implements Reporter {
  onTestRunEnd(
    testModules: readonly TestModule[],
    unhandledErrors: readonly SerializedError[],
  ): void {
    let passed = 0;
    let failed = unhandledErrors.length;
    const skipped: string[] = [];
    for (const testModule of testModules) {
      failed += testModule.errors().length;
      for (const suite of testModule.children.allSuites()) failed += suite.errors().length;
      for (const testCase of testModule.children.allTests()) {
        const { state } = testCase.result();
        if (state === 'passed') passed += 1;
        else if (state === 'failed') failed += 1;
        else skipped.push(describeSkipped(testCase));
      }
    }
    if (skipped.length > 0) process.stdout.write(`\nskipped:\n${skipped.join('\n')}\n`);
    const file = process.env[SUMMARY_FILE];
    if (file !== undefined) {
      writeFileSync(file, JSON.stringify({ passed, failed, skipped: skipped.length }));
    } else {
      process.stdout.write(`${passed} passed, ${failed} failed, ${skipped.length} skipped\n`);
    }
  }
}

function describeSkipped(testCase: TestCase): string {
  const result = testCase.result();
  const note = result.state === 'skipped' ? result.note : undefined;
  const why = note ?? WITHOUT_NOTE[testCase.options.mode ?? 'run'];
  return `  ${testCase.module.relativeModuleId} > ${testCase.fullName}: ${why}`;
}
