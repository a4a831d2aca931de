import { describe, expect, test } from 'vitest';
import {
  type AllowedLine,
  judgeKernelLog,
  logLineText,
  parseKernelLog,
  phaseMark,
} from '../../src/app/guest-log.ts';

const ADDRESS = '0000:00:02.0';
const unexpected = (raw: string, allowed: readonly AllowedLine[] = []) =>
  judgeKernelLog(parseKernelLog(raw), [ADDRESS], allowed).unexpected.map(({ text }) => text);

describe('reading', () => {
  test('lines with a level, without one, and of programs', () => {
    const raw = [
      '<6>[    0.000000] Linux version 7.3.4',
      '<30>[    1.500000] init: hello',
      '[   12.345678] Run /init as init process\r',
      '[    2.000000][    T1] smp: Brought up 1 node',
      '~ # ls',
      '',
    ].join('\n');
    expect(parseKernelLog(raw)).toEqual([
      { level: 6, seconds: 0, text: 'Linux version 7.3.4', phase: 'boot' },
      { level: 6, seconds: 1.5, text: 'init: hello', phase: 'boot' },
      { level: undefined, seconds: 12.345678, text: 'Run /init as init process', phase: 'boot' },
      { level: undefined, seconds: 2, text: 'smp: Brought up 1 node', phase: 'boot' },
    ]);
  });

  test('phases, of which the marks themselves are no findings', () => {
    const lines = parseKernelLog(
      `<6>[ 1.0] a\n<4>[ 2.0] ${phaseMark('probe')}\n<6>[ 3.0] b\n<4>[ 4.0] ${phaseMark('work')}\n<6>[ 5.0] c`,
    );
    expect(lines.map(({ phase }) => phase)).toEqual(['boot', 'probe', 'probe', 'work', 'work']);
    expect(judgeKernelLog(lines, [ADDRESS]).unexpected).toEqual([]);
  });

  test('a line as dmesg shows it', () => {
    const [line] = parseKernelLog('<6>[    3.5] text');
    expect(line && logLineText(line)).toBe('[    3.500000] text');
  });
});

describe('judging', () => {
  test.each([
    '<3>[ 1.0] xe 0000:00:02.0: [drm] *ERROR* Tile0: GT0: Failed to initialize uC (-ENXIO)',
    '<4>[ 1.0] xe 0000:00:02.0: [drm] Tile0: GT0: VF: something odd',
    '<4>[ 1.0] pci 0000:00:02.0: BAR 2: no space',
    '<4>[ 1.0] [drm:drm_sched_job_timedout] Timedout job',
    '<4>[ 1.0] WARNING: CPU: 0 PID: 1 at mm/page_alloc.c:1',
    '<1>[ 1.0] BUG: unable to handle page fault for address: 0',
    '<3>[ 1.0] INFO: task insmod:1 blocked for more than 120 seconds.',
    '[ 1.0] xe 0000:00:02.0: [drm] *ERROR* from a console',
    '[ 1.0] Kernel panic - not syncing: Attempted to kill init!',
  ])('%s', (raw) => {
    expect(unexpected(raw)).toHaveLength(1);
  });

  test.each([
    '<6>[ 1.0] xe 0000:00:02.0: [drm] Running in SR-IOV VF mode',
    '<5>[ 1.0] xe 0000:00:02.0: [drm] a notice',
    '<3>[ 1.0] i8042: No controller found',
    '<4>[ 1.0] axe: a word that only ends like it',
    '[ 1.0] xe 0000:00:02.0: [drm] Running in SR-IOV VF mode',
  ])('%s is fine', (raw) => {
    expect(unexpected(raw)).toEqual([]);
  });

  test('what is on the list is kept apart with its reason, in its phases only', () => {
    const allowed = [{ pattern: /Engine reset/, reason: 'a case hangs', phases: ['exercise'] }];
    const bad = '<4>[ 1.0] xe 0000:00:02.0: [drm] Engine reset: engine_class=rcs';
    expect(unexpected(bad, allowed)).toHaveLength(1);
    const { unexpected: none, allowed: found } = judgeKernelLog(
      parseKernelLog(`<6>[ 0.5] ${phaseMark('exercise')}\n${bad}`),
      [ADDRESS],
      allowed,
    );
    expect(none).toEqual([]);
    expect(found).toEqual([
      { line: expect.objectContaining({ seconds: 1 }), reason: 'a case hangs' },
    ]);
  });
});
