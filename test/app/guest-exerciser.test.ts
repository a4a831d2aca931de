import { expect, test } from 'vitest';
import { exerciseResult } from '../../src/app/guest-exerciser.ts';

const LINES = [
  '# /dev/dri/renderD128: device b080 revision 4, 6 engines, 1 memory regions',
  'ok query.engines 3 6 engines',
  'ok store.dword@rcs0 12',
  'skip parallel.two 0 the device has no such engine',
];

test('counts the cases and keeps what they say', () => {
  const output = [...LINES, 'total 3 ok 2 failed 0 skipped 1'].join('\n');
  expect(exerciseResult(output, 0)).toEqual({
    ok: true,
    passed: 2,
    failed: 0,
    skipped: 1,
    cases: [
      { name: 'query.engines', outcome: 'ok', ms: 3, detail: '6 engines' },
      { name: 'store.dword@rcs0', outcome: 'ok', ms: 12, detail: '' },
      { name: 'parallel.two', outcome: 'skip', ms: 0, detail: 'the device has no such engine' },
    ],
  });
});

test.each([
  [
    'a failed case',
    [...LINES, 'FAIL flow.if@bcs0 5 got 1, not 2', 'total 4 ok 2 failed 1 skipped 1'],
    1,
  ],
  ['no total: it ended early', LINES, 0],
  ['a total of other cases', [...LINES, 'total 4 ok 3 failed 0 skipped 1'], 0],
  ['no case at all', ['total 0 ok 0 failed 0 skipped 0', 'error: no case has such a name'], 2],
  ['an exit status that says so', [...LINES, 'total 3 ok 2 failed 0 skipped 1'], 139],
])('is not well with %s', (_, lines, status) => {
  expect(exerciseResult(lines.join('\n'), status).ok).toBe(false);
});
