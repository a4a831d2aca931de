import { InvalidArgumentError } from 'commander';
import { expect, test } from 'vitest';
import { rateOption, secondsOption } from '../../src/cli/network-options.ts';

test.each([
  ['1Gbit', 125e6],
  ['100mbit/s', 12.5e6],
  ['8000bit', 1000],
  ['2.5Gbps', undefined],
  ['100M', 100 * 2 ** 20],
  ['1GiB/s', 2 ** 30],
  ['4096', 4096],
  ['10', undefined],
  ['fast', undefined],
  ['-1Gbit', undefined],
])('a rate of %s', (text, bytes) => {
  if (bytes === undefined) expect(() => rateOption(text)).toThrow(InvalidArgumentError);
  else expect(rateOption(text)).toBe(bytes);
});

test('seconds', () => {
  expect(secondsOption('0.5')).toBe(0.5);
  for (const text of ['0', '-1', 'x', '1e9']) expect(() => secondsOption(text)).toThrow();
});
