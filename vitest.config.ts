import { defineConfig } from 'vitest/config';
import { SummaryReporter } from './test/support/summary-reporter.ts';

/** What takes minutes, needs QEMU or measures: run by .ci/run and `npm test -- --slow`. */
const SLOW = ['slow/**/*', 'qemu*', 'guest*'].map((part) => `test/e2e/${part}.test.ts`);

export default defineConfig({
  test: {
    // Processes, not threads: tests count descriptors and mappings, and send signals.
    pool: 'forks',
    reporters: ['default', new SummaryReporter()],
    projects: [
      {
        extends: true,
        test: {
          name: 'fast',
          include: ['test/**/*.test.ts'],
          exclude: SLOW,
          testTimeout: 30_000,
          // Servers and the rig's compiler are slow to start while every core runs tests.
          hookTimeout: 60_000,
          // Tests wait for child processes more than they compute.
          maxWorkers: '100%',
        },
      },
      {
        extends: true,
        test: {
          name: 'slow',
          include: SLOW,
          testTimeout: 300_000,
          hookTimeout: 900_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
