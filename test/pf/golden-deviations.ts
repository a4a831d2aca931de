/** A policy of golden's runs: when the workers run. */
export type Policy = 'eager' | 'lazy';

/** What a step came to, in golden's words. */
export interface StepResult {
  readonly ret: string;
  readonly timeout?: boolean;
  readonly blocks?: boolean;
  readonly bits?: readonly (readonly string[])[];
  readonly hw?: string;
}

/** A step in which we differ from Linux on purpose. */
export interface Deviation {
  readonly scenario: string;
  /** Both when left out. */
  readonly policy?: Policy;
  /** Index of the step. */
  readonly step: number;
  /** Number of the difference in docs/differences-from-linux.md. */
  readonly rule: 3 | 4 | 5 | 6 | 7;
  readonly linux: StepResult;
  readonly ours: StepResult;
}

const RESTORING = ['WIP', 'PAUSED', 'RESTORE_WIP', 'RESTORE_WAIT_DATA'];
const RESTORED = ['PAUSED', 'RESTORED'];
const WAITED = { ret: '-ETIMEDOUT', timeout: true };
const AT_ONCE = { ret: '-ETIMEDOUT' };
const NO_SESSION = { ret: '-ENODEV' };

/** Every step in which we differ from Linux on purpose. */
export const DEVIATIONS: readonly Deviation[] = [
  // Descriptor and trailer count.
  { scenario: 'full_save', step: 2, rule: 6, linux: { ret: '376' }, ours: { ret: '440' } },

  // Reading after the end of a session fails; in Linux it sleeps until a signal.
  {
    scenario: 'read_after_finish_blocks',
    policy: 'eager',
    step: 5,
    rule: 4,
    linux: { ret: '-ERESTARTSYS', blocks: true },
    ours: NO_SESSION,
  },

  // The write that brings a packet which firmware refuses fails, not a later one.
  {
    scenario: 'restore_fail_then_retry',
    step: 4,
    rule: 3,
    linux: { ret: '128' },
    ours: { ret: '-EIO' },
  },
  {
    scenario: 'restore_fail_then_retry',
    policy: 'lazy',
    step: 5,
    rule: 3,
    linux: { ret: '152' },
    ours: { ret: '-EIO' },
  },
  {
    scenario: 'restore_fail_then_retry',
    policy: 'lazy',
    step: 6,
    rule: 3,
    linux: { ret: '160' },
    ours: { ret: '-EIO' },
  },
  // So the trailer is not taken, and GT1 goes on waiting.
  {
    scenario: 'restore_fail_then_retry',
    policy: 'lazy',
    step: 8,
    rule: 3,
    linux: {
      ret: '0',
      bits: [
        ['PAUSED', 'RESTORE_FAILED'],
        ['WIP', 'PAUSED', 'RESTORE_WIP', 'RESTORE_PROCESS_DATA', 'RESTORE_DATA_DONE'],
      ],
    },
    ours: { ret: '0', bits: [['PAUSED', 'RESTORE_FAILED'], RESTORING] },
  },
  {
    scenario: 'restore_fail_then_retry',
    policy: 'lazy',
    step: 19,
    rule: 3,
    linux: { ret: '0', bits: [[...RESTORING, 'RESTORE_FAILED'], ['PAUSED']] },
    ours: {
      ret: '0',
      // Nothing had to wait since step 16, so the worker has not run.
      bits: [['WIP', 'PAUSED', 'RESTORE_WIP', 'RESTORE_PROCESS_DATA', 'RESTORE_FAILED'], RESTORING],
    },
  },
  // Leaving names the kept error at once.
  { scenario: 'restore_fail_then_retry', step: 13, rule: 3, linux: WAITED, ours: { ret: '-EIO' } },
  { scenario: 'restore_fail_then_retry', step: 18, rule: 3, linux: WAITED, ours: { ret: '-EIO' } },

  // A missing trailer is found at once, and the cut packet is gone after the reset.
  { scenario: 'restore_partial_then_new_session', step: 5, rule: 5, linux: WAITED, ours: AT_ONCE },
  {
    scenario: 'restore_partial_then_new_session',
    step: 11,
    rule: 4,
    linux: { ret: '-EINVAL' },
    ours: { ret: '416' },
  },
  {
    scenario: 'restore_partial_then_new_session',
    step: 12,
    rule: 4,
    linux: WAITED,
    ours: { ret: '0' },
  },
  {
    scenario: 'restore_partial_then_new_session',
    step: 13,
    rule: 4,
    linux: { ret: '0', bits: [RESTORING, RESTORING] },
    ours: { ret: '0', bits: [RESTORED, RESTORED] },
  },

  // Nothing is taken outside of a session, so there is no trailer that a later one could find.
  {
    scenario: 'stale_trailer_then_restore',
    step: 2,
    rule: 4,
    linux: { ret: '24' },
    ours: NO_SESSION,
  },
  { scenario: 'stale_trailer_then_restore', step: 4, rule: 4, linux: { ret: '0' }, ours: AT_ONCE },
  { scenario: 'write_without_restore', step: 2, rule: 4, linux: { ret: '40' }, ours: NO_SESSION },
  { scenario: 'write_without_restore', step: 3, rule: 4, linux: { ret: '88' }, ours: NO_SESSION },
];
