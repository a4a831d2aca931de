import { Fault } from '../../src/base/fault.ts';
import type { GtPort, GucVersion, PfDevicePort } from '../../src/pf/ports.ts';
import type { ProvisioningProfile } from '../../src/pf/provisioning-profile.ts';
import { XePf } from '../../src/pf/xe-pf.ts';
import { FakeGuc } from './fake-guc.ts';
import { FakeGgtt, FakeVram } from './fake-memory.ts';
import { ManualExecutor, settle, VirtualClock } from './manual-time.ts';

/** What came of an operation. */
export type Outcome<T> =
  | { readonly value: T; readonly timedOut: boolean }
  | { readonly fault: Fault; readonly timedOut: boolean }
  | { readonly blocks: true; readonly timedOut: boolean };

/** A GT of the golden model. */
interface FakeGt extends GtPort {
  readonly guc: FakeGuc;
}

/** What the golden model's streams were made of. */
const GOLDEN_PROFILE: Readonly<Record<'ptl' | 'bmg', ProvisioningProfile>> = {
  ptl: { ggttSize: 65536 },
  bmg: { ggttSize: 65536, vramSize: 2 ** 21 },
};

/** The device that golden's results come from: two GTs, tiny quotas; with a PF driver on it. */
export class GoldenDevice {
  readonly name: 'ptl' | 'bmg';
  readonly jobs = new ManualExecutor();
  readonly clock = new VirtualClock();
  readonly ggtt = new FakeGgtt();
  readonly vram = new Map<number, FakeVram>();
  readonly gts: readonly FakeGt[];
  readonly device: PfDevicePort;
  readonly pf: XePf;
  /** Called when the last flag register of a GT was written. */
  onMmio: ((gt: number) => void) | undefined;

  constructor(
    name: 'ptl' | 'bmg',
    options: {
      readonly vfs?: number;
      readonly profile?: ProvisioningProfile;
      readonly device?: Partial<PfDevicePort>;
      readonly gucVersion?: GucVersion;
      readonly singleGt?: boolean;
      readonly adminOnly?: boolean;
      readonly vramUsable?: number;
    } = {},
  ) {
    this.name = name;
    const gts = [this.#gt(0, 'main', 64), this.#gt(1, 'media', 32)];
    this.gts = options.singleGt ? gts.slice(0, 1) : gts;
    for (const { guc } of this.gts) guc.version = options.gucVersion ?? guc.version;
    const vram = {
      usable: options.vramUsable ?? 12 * 2 ** 30,
      assign: (vfid: number, size: number) => {
        const object = new FakeVram(size);
        this.vram.set(vfid, object);
        return object;
      },
      release: (vfid: number) => void this.vram.delete(vfid),
    };
    this.device = {
      deviceId: name === 'ptl' ? 0xb080 : 0xe20b,
      revisionId: name === 'ptl' ? 4 : 0,
      graphicsVerx100: name === 'ptl' ? 3000 : 2001,
      hasMemirq: true,
      totalVfs: 63,
      tiles: [{ id: 0, ggtt: this.ggtt, vram: name === 'bmg' ? vram : undefined, gts: this.gts }],
      ...options.device,
    };
    const { executor } = this.jobs;
    const adminOnly = options.adminOnly ?? false;
    this.pf = new XePf({ device: this.device, clock: this.clock, executor, adminOnly });
    const vfs = options.vfs ?? 2;
    if (vfs > 0) this.pf.enableVfs(vfs, options.profile ?? GOLDEN_PROFILE[name]);
  }

  #gt(id: number, type: 'main' | 'media', stateSize: number): FakeGt {
    const flags = new Map<string, number>();
    return {
      id,
      tileId: 0,
      type,
      guc: new FakeGuc(stateSize),
      readVfFlag: (vfid, n) => flags.get(`${vfid}.${n}`) ?? 0,
      writeVfFlag: (vfid, n, value) => {
        flags.set(`${vfid}.${n}`, value);
        if (n === 3) this.onMmio?.(id);
      },
      readRegister: (offset) => offset ^ 0x5500_0000,
    };
  }

  /** Puts the state that golden's streams were saved from into a VF. */
  fill(vfid: number): void {
    for (const gt of this.gts) {
      const words = new Uint32Array(gt.guc.stateSize / 4).map(
        (_, n) => 0x60c0_0000 + gt.id * 0x1_0000 + n,
      );
      gt.guc.state(vfid).set(new Uint8Array(words.buffer));
      for (let n = 0; n < 4; n++)
        gt.writeVfFlag(vfid, n, 0x51f0_0001 + gt.id * 0x1_0000 + n * 0x10);
    }
    const { ggttStart, ggttSize } = this.pf.vfConfig(vfid);
    for (let n = 0; n < ggttSize / 4096; n++)
      this.ggtt.ptes.set(ggttStart + 4096 * n, [0x1000_0001 + 4096 * n + (vfid << 2), 0]);
    const vram = this.vram.get(vfid)?.bytes;
    if (vram !== undefined) for (let at = 0; at < vram.length; at++) vram[at] = 7 * at + (at >> 8);
  }

  /** Runs an operation: workers run only when it has to wait, time only when they are idle. */
  async run<T>(operation: () => Promise<T> | T): Promise<Outcome<T>> {
    let outcome: { value: T } | { fault: Fault } | undefined;
    let other: unknown;
    Promise.resolve()
      .then(operation)
      .then(
        (value) => {
          outcome = { value };
        },
        (error: unknown) => {
          if (error instanceof Fault) outcome = { fault: error };
          else other = error;
        },
      );
    for (let timedOut = false; ; ) {
      await settle();
      if (other !== undefined) throw other;
      if (outcome !== undefined) return { ...outcome, timedOut };
      if (this.jobs.runOne()) continue;
      if (!this.clock.fireNext()) return { blocks: true, timedOut };
      timedOut = true;
    }
  }

  /** Runs an operation that must succeed. */
  async must<T>(operation: () => Promise<T> | T): Promise<T> {
    const outcome = await this.run(operation);
    if ('value' in outcome) return outcome.value;
    throw 'fault' in outcome ? outcome.fault : new Error('the operation does not end');
  }

  /** Runs an operation that must fail. */
  async fails(operation: () => unknown): Promise<Fault> {
    const outcome = await this.run(operation);
    if ('fault' in outcome) return outcome.fault;
    throw new Error('value' in outcome ? 'it did not fail' : 'the operation does not end');
  }
}
