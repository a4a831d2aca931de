/** A PF driver for tests of the variant driver: remembers its calls, fails and waits when told to. */
import { Fault } from '../../src/base/fault.ts';
import type { XeSriovPrecopy, XeSriovVfio } from '../../src/xe-vfio-pci/xe-sriov-vfio.ts';

/** A call that can be told to fail or wait. */
export type PfCall =
  | Exclude<
      keyof XeSriovVfio,
      'migrationSupported' | 'migrationUnsupportedReason' | 'dataWindow' | 'precopy'
    >
  | 'precopyEnter'
  | 'precopyExit';

/** What a VF is doing. */
export type VfActivity = 'running' | 'paused' | 'saving' | 'restoring' | 'broken' | 'stopped';

/** A PF with one VF. */
export class FakePf implements XeSriovVfio {
  /** Calls so far, in order. */
  readonly calls: PfCall[] = [];
  /** The fault that the next call of this name ends with. */
  readonly failNext = new Map<PfCall, Fault>();
  /** What the next call of this name waits for. */
  readonly holdNext = new Map<PfCall, Promise<unknown>>();
  supported = true;
  /** True when a reset makes the calls that wait fail with ECANCELED, as a real PF's do. */
  resetCancels = false;
  activity: VfActivity = 'running';
  /** What reading delivers. */
  stream: Uint8Array[] = [];
  /** What was written. */
  readonly written: number[] = [];
  /** Where windows are. */
  window: Uint8Array | undefined;
  /** What a pre-copy is told to have left. */
  progress = { initialBytes: 0, dirtyBytes: 0, reinit: false, stopMs: 0, staleMs: 0, passes: 0 };
  /** What the last question for it was asked with. */
  mayReinit: boolean | undefined;
  readonly precopy: XeSriovPrecopy | undefined;
  #resets = 0;

  constructor(options: { readonly precopy?: boolean } = {}) {
    if (options.precopy !== true) return;
    this.precopy = {
      supported: () => true,
      enter: () => this.#call('precopyEnter', this.activity),
      exit: () => this.#call('precopyExit', this.activity),
      progress: (_vfid, mayReinit) => {
        this.mayReinit = mayReinit;
        return this.progress;
      },
    };
  }

  migrationSupported(): boolean {
    return this.supported;
  }

  migrationUnsupportedReason(): string | undefined {
    return this.supported ? undefined : 'GuC firmware 70.53.0 is older than 70.54.0';
  }

  flrPrepare(): Promise<void> {
    return this.#call('flrPrepare', this.activity);
  }

  waitFlrDone(): Promise<void> {
    // A reset gets through even where waiting for it fails.
    this.activity = 'running';
    this.#resets++;
    return this.#call('waitFlrDone', 'running');
  }

  suspendDevice(): Promise<void> {
    return this.#call('suspendDevice', 'paused');
  }

  resumeDevice(): Promise<void> {
    return this.#call('resumeDevice', 'running');
  }

  stopCopyEnter(): Promise<void> {
    return this.#call('stopCopyEnter', 'saving');
  }

  stopCopyExit(): Promise<void> {
    return this.#call('stopCopyExit', 'paused');
  }

  resumeDataEnter(): Promise<void> {
    return this.#call('resumeDataEnter', 'restoring');
  }

  resumeDataExit(): Promise<void> {
    return this.#call('resumeDataExit', 'paused', 'broken');
  }

  error(): Promise<void> {
    return this.#call('error', 'stopped');
  }

  async stopCopySize(): Promise<number> {
    await this.#call('stopCopySize', this.activity);
    return 4096;
  }

  async dataRead(_vfid: number, max: number): Promise<readonly Uint8Array[]> {
    await this.#call('dataRead', this.activity);
    const next = this.stream.shift();
    return next === undefined ? [] : [next.subarray(0, max)];
  }

  async dataWrite(_vfid: number, source: Uint8Array): Promise<void> {
    await this.#call('dataWrite', this.activity);
    this.written.push(...source);
  }

  dataWindow(_vfid: number, max: number): Uint8Array | undefined {
    return this.window?.subarray(0, max);
  }

  async dataCommit(_vfid: number, length: number): Promise<void> {
    await this.#call('dataCommit', this.activity);
    this.written.push(...(this.window?.subarray(0, length) ?? []));
  }

  async #call(name: PfCall, then: VfActivity, failed = this.activity): Promise<void> {
    this.calls.push(name);
    const held = this.holdNext.get(name);
    this.holdNext.delete(name);
    const resets = this.#resets;
    await held;
    if (this.resetCancels && resets !== this.#resets)
      throw new Fault('ECANCELED', 'the VF was reset');
    const fault = this.failNext.get(name);
    this.failNext.delete(name);
    if (fault !== undefined) {
      if (failed !== this.activity) this.activity = failed;
      throw fault;
    }
    this.activity = then;
  }
}
