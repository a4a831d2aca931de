/**
 * The variant driver against a model of a few lines: any sequence of state changes, resets, data
 * accesses and failures leads where the model says.
 */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DeviceFault, Fault } from '../../src/base/fault.ts';
import { type MigStateName, migStateName } from '../../src/vfio/migration-state.ts';
import type { MigrationData } from '../../src/vfio/vfio-device.ts';
import { XeVfioPci } from '../../src/xe-vfio-pci/xe-vfio-pci.ts';
import { FakePf, type PfCall, type VfActivity } from '../support/fake-pf.ts';
import { FakeEventFds, xeVf } from '../support/test-function.ts';

const { matrix } = JSON.parse(
  readFileSync(new URL('../fixtures/golden/mig_fsm.json', import.meta.url), 'utf8'),
) as { matrix: Record<string, Record<string, Record<string, string>>> };
/** States that share a session and its file. */
const SAVING: readonly string[] = ['PRE_COPY', 'PRE_COPY_P2P', 'STOP_COPY'];

/** What each arc asks of the PF. */
const ARCS: Readonly<Record<string, PfCall | undefined>> = {
  'RUNNING>RUNNING_P2P': 'suspendDevice',
  'RUNNING_P2P>RUNNING': 'resumeDevice',
  'STOP>STOP_COPY': 'stopCopyEnter',
  'STOP_COPY>STOP': 'stopCopyExit',
  'STOP>RESUMING': 'resumeDataEnter',
  'RESUMING>STOP': 'resumeDataExit',
  'RUNNING>PRE_COPY': 'precopyEnter',
  'RUNNING_P2P>PRE_COPY_P2P': 'precopyEnter',
  'PRE_COPY>RUNNING': 'precopyExit',
  'PRE_COPY_P2P>RUNNING_P2P': 'precopyExit',
  'PRE_COPY>PRE_COPY_P2P': 'suspendDevice',
  'PRE_COPY_P2P>PRE_COPY': 'resumeDevice',
  'PRE_COPY_P2P>STOP_COPY': 'stopCopyEnter',
};
const FAILING = [...new Set(Object.values(ARCS))] as PfCall[];

/** What the VF does in each state. */
const ACTIVITY: Readonly<Record<string, VfActivity>> = {
  RUNNING: 'running',
  RUNNING_P2P: 'paused',
  STOP: 'paused',
  STOP_COPY: 'saving',
  RESUMING: 'restoring',
  ERROR: 'stopped',
  PRE_COPY: 'running',
  PRE_COPY_P2P: 'paused',
};

interface Failure {
  readonly call: PfCall;
  readonly device: boolean;
}

/** The model: a state, and whether a file is open in it. */
class Model {
  state: MigStateName = 'RUNNING';
  live = false;
  /** Linux's own next states for the device's flags. */
  readonly #linux: Record<string, Record<string, string>>;

  constructor(flags: number) {
    this.#linux = matrix[flags] ?? {};
  }

  /** Walks to `wanted`; returns the errno, or undefined when it got there. */
  set(wanted: number, failure: Failure | undefined): string | undefined {
    const name = wanted < 8 ? migStateName(wanted) : '8';
    for (;;) {
      const next = this.#linux[this.state]?.[name] ?? '-EINVAL';
      if (next.startsWith('-EINVAL')) return 'EINVAL';
      if (next === this.state) return undefined;
      const call = ARCS[`${this.state}>${next}`];
      const goesOn = SAVING.includes(this.state) && SAVING.includes(next);
      if (!goesOn) this.live = false;
      if (call !== undefined && failure?.call === call) {
        if (failure.device || call === 'resumeDataExit') {
          this.state = 'ERROR';
          this.live = false;
        }
        return 'EIO';
      }
      this.state = next as MigStateName;
      if (!goesOn) this.live = SAVING.includes(next) || next === 'RESUMING';
    }
  }

  reset(): void {
    this.state = 'RUNNING';
    this.live = false;
  }
}

const failure = fc.option(fc.record({ call: fc.constantFrom(...FAILING), device: fc.boolean() }), {
  nil: undefined,
  freq: 3,
});
const operation = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constant('set' as const),
      // Mostly the states that there are.
      to: fc.oneof(
        { weight: 5, arbitrary: fc.integer({ min: 1, max: 7 }) },
        fc.integer({ min: 0, max: 9 }),
      ),
      failure,
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('reset' as const) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('close file' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('reset during set' as const),
      to: fc.integer({ min: 1, max: 7 }),
    }),
  },
);

type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

async function errno(promise: Promise<unknown> | undefined): Promise<string | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    if (error instanceof Fault) return error.code;
    throw error;
  }
}

const touch = (file: MigrationData) =>
  errno(file.direction === 'read' ? file.read(1) : file.write(new Uint8Array(1)));

describe.each([
  ['as Linux has it', 3],
  ['with pre-copy', 7],
])('the variant driver %s and its model', (_name, flags) => {
  it('agree on states, files and the VF, whatever happens', async () => {
    const run = async (operations: readonly Operation[]) => {
      const pf = new FakePf({ precopy: (flags & 4) !== 0 });
      pf.resetCancels = true;
      const device = await XeVfioPci.open({
        pciFunction: xeVf('ptl'),
        eventFds: new FakeEventFds(),
        pf,
        vfid: 1,
      });
      expect(device.migrationFlags).toBe(flags);
      const model = new Model(flags);
      const files: MigrationData[] = [];
      for (const step of operations) {
        const before = { state: model.state, calls: pf.calls.length };
        if (step.op === 'reset') {
          await device.reset();
          model.reset();
        } else if (step.op === 'close file') {
          if (model.live) files.at(-1)?.close();
          model.live = false;
        } else if (step.op === 'reset during set') {
          let release = () => {};
          const hold = new Promise<void>((resolve) => {
            release = resolve;
          });
          for (const call of FAILING) pf.holdNext.set(call, hold);
          const change = device.setMigrationState(step.to).then(
            (file) => file && files.push(file),
            (error) => expect(error).toBeInstanceOf(Fault),
          );
          await new Promise(setImmediate);
          await device.reset();
          release();
          await change;
          pf.holdNext.clear();
          model.reset();
        } else {
          if (step.failure !== undefined) {
            const Kind = step.failure.device ? DeviceFault : Fault;
            pf.failNext.set(step.failure.call, new Kind('EIO', 'told to'));
          }
          const change = device.setMigrationState(step.to);
          const code = await errno(change);
          pf.failNext.clear();
          expect(code).toBe(model.set(step.to, step.failure));
          if (code === undefined) {
            const file = await change;
            if (file !== undefined) files.push(file);
            const goesOn = SAVING.includes(before.state) && SAVING.includes(model.state);
            expect(file !== undefined).toBe(model.live && before.state !== model.state && !goesOn);
          }
          // Deviation 1: what is refused outright asks nothing of the PF.
          if (code === 'EINVAL') expect(pf.calls).toHaveLength(before.calls);
        }
        expect(migStateName(await device.migrationState())).toBe(model.state);
        expect(pf.activity).toBe(ACTIVITY[model.state]);
        for (const [index, file] of files.entries()) {
          const alive = model.live && index === files.length - 1;
          expect(await touch(file)).toBe(alive ? undefined : 'ENODEV');
        }
      }
      await device.close();
      for (const file of files) expect(await touch(file)).toBe('ENODEV');
    };
    await fc.assert(fc.asyncProperty(fc.array(operation, { maxLength: 25 }), run), {
      numRuns: 400,
    });
  });
});
