import { describe, expect, test } from 'vitest';
import { statsSince } from '../../src/app/stats.ts';
import { VfCounters } from '../../src/gpu/counters.ts';

describe('what was counted between two looks', () => {
  test('is the difference, and nothing of what did not happen', () => {
    const counters = new VfCounters();
    counters.registerRead(0);
    counters.registerWrite(1);
    counters.gucMessage('H2G', 0x1000);
    counters.command('MI_NOOP', 5);
    counters.interrupt('GuC');
    const before = counters.snapshot();
    counters.registerRead(0);
    counters.registerRead(2);
    counters.command('MI_NOOP', 2);
    counters.command('MEM_COPY');
    counters.fault('PAGE_FAULT');
    counters.copied(4096);
    const now = counters.snapshot();
    const [first = '', , third = ''] = Object.keys(now.registers);
    expect(statsSince(before, now)).toEqual({
      registers: { [first]: { reads: 1, writes: 0 }, [third]: { reads: 1, writes: 0 } },
      accesses: { reads: 2, writes: 0 },
      interrupts: {},
      gucMessages: { mailbox: {}, H2G: {}, G2H: {} },
      commands: { MI_NOOP: 2, MEM_COPY: 1 },
      faults: { PAGE_FAULT: 1 },
      copiedBytes: 4096,
    });
    expect(statsSince(new VfCounters().snapshot(), now)).toEqual(now);
  });
});
