import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ERRNO, type ErrnoName } from '../../src/base/errno.ts';
import { Fault, StreamFault } from '../../src/base/fault.ts';
import { asFault, EXIT, exitCodeOf, hintOf, UsageFault } from '../../src/cli/exit-codes.ts';
import { hexDump } from '../../src/cli/hex-dump.ts';
import {
  integerListOption,
  integerOption,
  sizeListOption,
  sizeOption,
} from '../../src/cli/options.ts';
import { formatDuration, Progress } from '../../src/cli/progress.ts';
import { formatTable } from '../../src/cli/table.ts';

describe('exit codes', () => {
  it.each<[ErrnoName, number]>([
    ['ENOENT', 3],
    ['ENODEV', 3],
    ['ECONNREFUSED', 3],
    ['EACCES', 4],
    ['EPERM', 4],
    ['EBUSY', 5],
    ['EADDRINUSE', 5],
    ['EBADMSG', 6],
    ['EUCLEAN', 6],
    ['ETIMEDOUT', 7],
    ['ECANCELED', 7],
    ['EIO', 1],
    ['ENOSPC', 1],
    ['EINVAL', 1],
  ])('%s is %i', (code, exit) => {
    expect(exitCodeOf(new Fault(code, 'x'))).toBe(exit);
  });

  it('go by the fault of a stream wherever it is in the chain of causes', () => {
    const stream = new StreamFault('ENODEV', 'other device', { offset: 0, packet: 0 });
    expect(exitCodeOf(stream)).toBe(EXIT.INCOMPATIBLE);
    expect(exitCodeOf(new Fault('EIO', 'target failed', { cause: stream }))).toBe(
      EXIT.INCOMPATIBLE,
    );
    expect(exitCodeOf(new UsageFault('x'))).toBe(EXIT.USAGE);
  });

  it('have a hint for every errno, the failure’s own first', () => {
    for (const code of Object.keys(ERRNO) as ErrnoName[])
      expect(hintOf(new Fault(code, 'x'))).not.toBe('');
    expect(hintOf(new Fault('EIO', 'x', { hint: 'do this' }))).toBe('do this');
  });

  it('keep the errno of what the operating system throws', () => {
    const error = Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' });
    expect(asFault(error)).toMatchObject({ code: 'EACCES', cause: error });
    expect(asFault(Object.assign(new Error('x'), { code: 'ERR_OTHER' }))).toMatchObject({
      code: 'EIO',
    });
    expect(asFault('text')).toMatchObject({ code: 'EIO', message: 'text' });
  });
});

describe('tables', () => {
  it('align left and right and leave no spaces at line ends', () => {
    const columns = [
      { title: 'name' },
      { title: 'size', align: 'right' },
      { title: 'note' },
    ] as const;
    expect(
      formatTable(columns, [
        ['a', '1 B', ''],
        ['longer', '1024 B'],
        ['b', '2 B', 'x'],
      ]),
    ).toEqual(['name      size  note', 'a          1 B', 'longer  1024 B', 'b          2 B  x']);
  });
});

describe('hex dumps', () => {
  it('have offset, bytes and text', () => {
    const bytes = Buffer.from('0123456789abcdefXE\x00\xff', 'latin1');
    expect(hexDump(bytes, 0x10)).toEqual([
      '00000010  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|',
      '00000020  58 45 00 ff                                       |XE..|',
    ]);
    expect(hexDump(new Uint8Array())).toEqual([]);
  });

  it('show every byte once', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        const shown = hexDump(bytes)
          .map((line) => line.slice(10, 58))
          .join(' ');
        expect(shown.trim().split(/ +/).join('')).toBe(Buffer.from(bytes).toString('hex'));
      }),
    );
  });
});

describe('option values', () => {
  it('are understood or refused with a reason', () => {
    expect(sizeOption('512M')).toBe(512 * 2 ** 20);
    expect(sizeListOption('64,0x20')).toEqual([64, 32]);
    expect(() => sizeOption('big')).toThrow('"big" is not a size');
    const count = integerOption(1, 63);
    expect([count('1'), count('0x3f')]).toEqual([1, 63]);
    for (const text of ['0', '64', '1.5', '-1', '', 'one'])
      expect(() => count(text)).toThrow('1 to 63');
    expect(() => integerOption(1)('0')).toThrow('from 1 up');
    expect(integerListOption(100)('8,0,100')).toEqual([8, 0, 100]);
    for (const text of ['8,', '8,101', ''])
      expect(() => integerListOption(100)(text)).toThrow('0 to 100');
  });
});

describe('progress', () => {
  function terminal(isTTY: boolean) {
    const written: string[] = [];
    let now = 0;
    const clock = { now: () => now, after: () => () => {} };
    const sink = { isTTY, columns: 100, write: (text: string) => written.push(text) };
    return { written, progress: new Progress(sink, clock), pass: (ms: number) => (now += ms) };
  }

  it('shows phase, bar, bytes, rate and the time that is left', () => {
    const { progress, pass } = terminal(true);
    progress.phase('copy', 4 * 2 ** 20);
    expect(progress.line()).toBe('copy  [------------------------]  0 B / 4 MiB');
    pass(1000);
    progress.update(2 ** 20);
    expect(progress.line()).toBe(
      'copy  [######------------------]  1 MiB / 4 MiB  1 MiB/s  3.0 s left',
    );
    progress.update(4 * 2 ** 20);
    expect(progress.line()).toBe('copy  [########################]  4 MiB / 4 MiB  4 MiB/s');
  });

  it('draws on a terminal only, not too often, and wipes its line', () => {
    const { written, progress, pass } = terminal(true);
    progress.phase('copy', 100);
    for (let at = 0; at < 50; at++) progress.update(at);
    expect(written).toHaveLength(1);
    pass(150);
    progress.update(50);
    expect(written).toHaveLength(2);
    progress.close();
    progress.close();
    expect(written.slice(2)).toEqual(['\r\x1b[K']);
    const quiet = terminal(false);
    quiet.progress.phase('copy', 100);
    quiet.progress.update(1);
    quiet.progress.close();
    expect(quiet.written).toEqual([]);
  });

  it('never writes more than a line of the terminal', () => {
    const { written, progress } = terminal(true);
    progress.phase('x'.repeat(300));
    expect(written[0]?.length).toBeLessThan(100 + '\r\x1b[K'.length);
  });

  it('says times as people do', () => {
    expect([0, 400, 9999, 12_000, 59_400, 200_000].map(formatDuration)).toEqual([
      '0.0 s',
      '0.4 s',
      '10.0 s',
      '12 s',
      '59 s',
      '3 min 20 s',
    ]);
  });
});
