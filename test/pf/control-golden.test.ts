import { describe, expect, it } from 'vitest';
import type { Fault } from '../../src/base/fault.ts';
import { DEVIATIONS, type Deviation, type Policy, type StepResult } from './golden-deviations.ts';
import { GoldenDevice } from './golden-device.ts';
import { golden, goldenJson } from './golden-files.ts';

interface GoldenStep {
  readonly op: string;
  readonly ret: string;
  readonly blocks?: boolean;
  readonly timeout?: boolean;
  readonly info?: ReadonlyArray<{ readonly bits?: string[]; readonly hw?: string }>;
}
interface Scenario {
  readonly name: string;
  readonly both?: readonly GoldenStep[];
  readonly eager?: readonly GoldenStep[];
  readonly lazy?: readonly GoldenStep[];
}

function describeFault({ code }: Fault): string {
  return `-${code}`;
}

/** Runs one scenario step by step. */
class ScenarioRun {
  readonly #policy: Policy;
  readonly #device = new GoldenDevice('ptl');
  #vfid = 1;
  #file: Uint8Array = new Uint8Array(0);

  constructor(policy: Policy) {
    this.#policy = policy;
  }

  async step(op: string): Promise<StepResult> {
    const immediate = this.#immediate(op);
    if (immediate !== undefined) return immediate;
    const outcome = await this.#device.run(() => this.#operate(op));
    if (this.#policy === 'eager') {
      this.#device.jobs.drain();
    }
    const timeout = outcome.timedOut ? { timeout: true } : {};
    if ('blocks' in outcome) return { ret: '-ERESTARTSYS', blocks: true, ...timeout };
    if ('fault' in outcome) return { ret: describeFault(outcome.fault), ...timeout };
    return { ret: String(outcome.value ?? 0), ...timeout };
  }

  /** What prepares or looks. */
  #immediate(op: string): StepResult | undefined {
    const [name, a = '', b = ''] = op.split(' ');
    const { gts, pf } = this.#device;
    const errors = { gucctl: 'control', gucserr: 'save', gucrerr: 'restore' } as const;
    switch (name) {
      case 'gucctl':
      case 'gucserr':
      case 'gucrerr': {
        const gt = gts[Number(a)]?.guc.errors;
        if (gt === undefined) throw new Error(op);
        delete gt[errors[name]];
        if (b === '-5') gt[errors[name]] = 'EIO';
        if (b === '-71') gt[errors[name]] = 'EPROTO';
        return { ret: '0' };
      }
      case 'fillhw':
        this.#device.fill(this.#vfid);
        return { ret: '0' };
      case 'drain':
        this.#device.jobs.drain();
        return { ret: '0' };
      case 'vf':
        this.#vfid = Number(a);
        return { ret: '0' };
      case 'load':
        this.#file = golden(a);
        return { ret: String(this.#file.length) };
      case 'st':
        return { ret: '0', bits: pf.control.states(this.#vfid) };
      case 'dump':
        return { ret: '0', hw: this.#dump() };
      default:
        return undefined;
    }
  }

  async #operate(op: string): Promise<unknown> {
    const [name, a = '', b = ''] = op.split(' ');
    const { control, migration } = this.#device.pf;
    const vfid = this.#vfid;
    switch (name) {
      case 'pause':
      case 'resume':
      case 'stop':
        return control.operate(vfid, name);
      case 'reset':
        return control.resetVf(vfid);
      case 'save':
        return migration.beginSave(vfid);
      case 'fsave':
        return migration.finishSave(vfid);
      case 'restore':
        return migration.beginRestore(vfid);
      case 'frestore':
        return migration.finishRestore(vfid);
      case 'size':
        return migration.size(vfid);
      case 'r': {
        const views = await migration.vf(vfid).read(Number(a));
        return views.reduce((sum, { length }) => sum + length, 0);
      }
      case 'w':
        await migration.vf(vfid).write(this.#file.subarray(Number(a), Number(a) + Number(b)));
        return Number(b);
      default:
        throw new Error(`unknown step ${op}`);
    }
  }

  #dump(): string {
    const { gts, ggtt, pf } = this.#device;
    const vfid = this.#vfid;
    const hex = (value: number) => value.toString(16).padStart(8, '0');
    const { ggttStart } = pf.vfConfig(vfid);
    const flags = gts.map((gt) => `sw${gt.id}=${hex(gt.readVfFlag(vfid, 0))}`);
    const ptes = [0, 1].map(
      (n) => `ggtt[${n}]=${(ggtt.ptes.get(ggttStart + 4096 * n)?.[0] ?? 0).toString(16)}`,
    );
    const states = gts.map(
      ({ id, guc }) => `guc${id}=${hex(Buffer.from(guc.state(vfid)).readUInt32LE(0))}`,
    );
    return [...flags, ...ptes, ...states, 'lmem=0000'].join(' ');
  }
}

function expected({ ret, blocks, timeout, info }: GoldenStep): StepResult {
  const bits = info?.flatMap((entry) => (entry.bits === undefined ? [] : [entry.bits]));
  const hw = info?.[0]?.hw;
  return {
    ret,
    ...(blocks && { blocks }),
    ...(timeout && { timeout }),
    ...(bits !== undefined && bits.length > 0 && { bits }),
    ...(hw !== undefined && { hw }),
  };
}

describe('PF control and data path, against what Linux 7.3 did', () => {
  const { scenarios } = goldenJson<{ scenarios: Scenario[] }>('control_scenarios.json');
  const used = new Set<Deviation>();
  for (const scenario of scenarios) {
    for (const policy of ['eager', 'lazy'] as const) {
      const steps = scenario[policy] ?? scenario.both ?? [];
      it(`${scenario.name} (${policy})`, async () => {
        const run = new ScenarioRun(policy);
        for (const [index, step] of steps.entries()) {
          const deviation = DEVIATIONS.find(
            (entry) =>
              entry.scenario === scenario.name &&
              entry.step === index &&
              (entry.policy ?? policy) === policy,
          );
          const where = `step ${index}: ${step.op}`;
          if (deviation !== undefined) {
            used.add(deviation);
            expect(expected(step), `${where} in Linux`).toEqual(deviation.linux);
          }
          expect(await run.step(step.op), where).toEqual(deviation?.ours ?? expected(step));
        }
      });
    }
  }

  it('has no deviation that is not needed', () => {
    expect(DEVIATIONS.filter((deviation) => !used.has(deviation))).toEqual([]);
  });
});
