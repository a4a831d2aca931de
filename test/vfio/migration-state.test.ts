import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import {
  MIG_STATE,
  type MigStateName,
  migStateExists,
  migStateName,
  nextState,
} from '../../src/vfio/migration-state.ts';

interface Golden {
  readonly states: readonly MigStateName[];
  readonly matrix: Readonly<
    Record<string, Readonly<Record<string, Readonly<Record<string, string>>>>>
  >;
}

const golden = JSON.parse(
  readFileSync(new URL('../fixtures/golden/mig_fsm.json', import.meta.url), 'utf8'),
) as Golden;

const number = (name: string) => (name === '8' ? 8 : MIG_STATE[name as MigStateName]);

/** The cell as the golden file writes it, without the kernel's warning. */
function cell(current: number, wanted: number, flags: number): string {
  try {
    return migStateName(nextState(current, wanted, flags));
  } catch (error) {
    if (error instanceof Fault) return `-${error.code}`;
    throw error;
  }
}

describe('the next state', () => {
  it('has states numbered as in the uAPI', () => {
    expect(Object.keys(MIG_STATE)).toEqual(golden.states);
    expect(Object.values(MIG_STATE)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  it('has a matrix for every set of flags', () => {
    expect(Object.keys(golden.matrix)).toEqual(['1', '3', '5', '7']);
  });

  for (const [flags, rows] of Object.entries(golden.matrix)) {
    it(`equals every cell of Linux for flags ${flags}`, () => {
      const names = ['8', ...golden.states];
      expect(Object.keys(rows)).toEqual(names);
      for (const current of names) {
        const row = rows[current] ?? {};
        expect(Object.keys(row)).toEqual(names);
        for (const wanted of names) {
          const linux = row[wanted]?.replace(' WARN', '');
          expect(
            cell(number(current), number(wanted), Number(flags)),
            `${current} to ${wanted}`,
          ).toBe(linux);
        }
      }
    });
  }

  it('refuses what is no state at all', () => {
    for (const state of [-1, 9, 2.5, 0xabcd, 2 ** 32 - 1, Number.NaN]) {
      expect(cell(MIG_STATE.RUNNING, state, 7)).toBe('-EINVAL');
      expect(cell(state, MIG_STATE.RUNNING, 7)).toBe('-EINVAL');
    }
  });

  it('refuses every state of a device without migration', () => {
    for (const state of Object.values(MIG_STATE))
      expect(cell(state, MIG_STATE.RUNNING, 0)).toBe('-EINVAL');
  });

  it('reaches what it does not refuse within six steps, by states that exist', () => {
    const state = fc.integer({ min: 0, max: 8 });
    fc.assert(
      fc.property(state, state, fc.integer({ min: 0, max: 7 }), (from, to, flags) => {
        let current = from;
        for (let steps = 0; current !== to; steps++) {
          expect(steps).toBeLessThan(6);
          if (cell(current, to, flags) === '-EINVAL') {
            // Only the first step may be refused: a walk that began comes to its end.
            expect(steps).toBe(0);
            return;
          }
          current = nextState(current, to, flags);
          expect(migStateExists(current, flags)).toBe(true);
        }
      }),
    );
  });
});
