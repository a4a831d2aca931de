/**
 * The variant driver: VFIO migration of an Intel Xe VF, by way of the PF driver that owns it.
 *
 * Everything that is not migration is generic VFIO PCI (src/vfio-pci). Where this differs from
 * Linux on purpose, the place says "Deviation" with its number in docs/differences-from-linux.md.
 *
 * Source: drivers/vfio/pci/xe/main.c.
 */
import { DeviceFault, Fault } from '../base/fault.ts';
import { Mutex } from '../base/mutex.ts';
import { MIG_STATE, type MigState, migStateName, nextState } from '../vfio/migration-state.ts';
import { VFIO_MIGRATION } from '../vfio/uapi.ts';
import type { MigrationData, PrecopyInfo } from '../vfio/vfio-device.ts';
import type { PciFunction } from '../vfio-pci/pci-function.ts';
import { VfioPciCore, type VfioPciCoreOptions } from '../vfio-pci/vfio-pci-core.ts';
import { type XePlatformName, xePlatformOf } from './ids.ts';
import type { XeSriovVfio } from './xe-sriov-vfio.ts';

const { ERROR, STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P } =
  MIG_STATE;

/** What a device is opened with. */
export interface XeVfioPciOptions extends VfioPciCoreOptions {
  readonly pciFunction: PciFunction;
  /** The PF driver's exports; undefined when the VF's PF is not bound to it. */
  readonly pf?: XeSriovVfio | undefined;
  /** Number of the VF, from 1; 0 for what is no VF. */
  readonly vfid?: number;
  /** Exactly Linux's migration flags: no pre-copy, also where the PF has it. */
  readonly linuxFlags?: boolean | undefined;
}

/** The file that carries one session's data: save is read, resume is written. */
class XeVfioPciMigrationFile implements MigrationData {
  readonly direction: 'read' | 'write';
  readonly #pf: XeSriovVfio;
  readonly #vfid: number;
  /** Serialises accesses to migration data. */
  readonly #lock = new Mutex();
  #disabled = false;
  #wake: ((reason: Fault) => void) | undefined;

  constructor(direction: 'read' | 'write', pf: XeSriovVfio, vfid: number) {
    this.direction = direction;
    this.#pf = pf;
    this.#vfid = vfid;
  }

  read(max: number): Promise<readonly Uint8Array[]> {
    return this.#access('read', () => this.#pf.dataRead(this.#vfid, max));
  }

  write(source: Uint8Array): Promise<void> {
    return this.#access('write', () => this.#pf.dataWrite(this.#vfid, source));
  }

  window(max: number): Uint8Array | undefined {
    if (this.direction !== 'write' || this.#disabled || this.#lock.held) return undefined;
    return this.#pf.dataWindow(this.#vfid, max);
  }

  commit(length: number): Promise<void> {
    return this.#access('write', () => this.#pf.dataCommit(this.#vfid, length));
  }

  close(): void {
    this.disable();
  }

  /**
   * Makes every later access, and the one that sleeps now, fail with ENODEV. Deviation 7: Linux
   * waits here for the file lock, which a reader that sleeps in the PF never gives back.
   */
  disable(): void {
    this.#disabled = true;
    this.#wake?.(sessionEnded());
  }

  async #access<T>(direction: 'read' | 'write', run: () => Promise<T>): Promise<T> {
    if (direction !== this.direction)
      throw new Fault('EINVAL', `the data of this session is not there to ${direction}`);
    await this.#lock.lock();
    try {
      if (this.#disabled) throw sessionEnded();
      return await new Promise<T>((resolve, reject) => {
        this.#wake = reject;
        run().then(resolve, reject);
      });
    } finally {
      this.#wake = undefined;
      this.#lock.unlock();
    }
  }
}

function sessionEnded(): Fault {
  return new Fault('ENODEV', 'the migration session of this data has ended');
}

/** A VF, or any other function, opened through xe-vfio-pci. */
export class XeVfioPci extends VfioPciCore {
  /** The platform, undefined for a device that is not in the driver's table. */
  readonly platform: XePlatformName | undefined;
  readonly #pf: XeSriovVfio | undefined;
  /** The PF counts its VFs from 1; 0 when this is no VF. */
  readonly #vfid: number = 0;
  readonly #migrationFlags: number = 0;
  /** Protects the migration state. */
  readonly #stateMutex = new Mutex();
  #migState: MigState = RUNNING;
  #migf: XeVfioPciMigrationFile | undefined;
  /** A reset that the holder of the state mutex has to finish. */
  #deferredReset = false;
  /** True once the caller knows of REINIT. */
  #precopyInfoV2 = false;
  #resetsUnderway = 0;

  /**
   * Opens a function: resets it, state RUNNING.
   *
   * @throws {Fault} ENODEV for a VF without its PF's driver
   * Source: xe_vfio_pci_init_dev, xe_vfio_pci_open_device
   */
  static async open(options: XeVfioPciOptions): Promise<XeVfioPci> {
    const device = new XeVfioPci(options);
    await device.enable();
    return device;
  }

  /** Source: xe_vfio_pci_vf_init, xe_vfio_pci_migration_init */
  private constructor(options: XeVfioPciOptions) {
    super(options);
    const { pciFunction, pf, vfid = 0, linuxFlags = false } = options;
    this.platform = xePlatformOf(pciFunction.vendorId, pciFunction.deviceId);
    if (!pciFunction.isVirtfn) return;
    if (pf === undefined)
      throw new Fault('ENODEV', 'the PF of this VF is not bound to the xe driver');
    this.#pf = pf;
    this.#vfid = vfid;
    if (pf.migrationSupported())
      this.#migrationFlags = VFIO_MIGRATION.STOP_COPY | VFIO_MIGRATION.P2P;
    // Deviation 11: Linux's driver has no pre-copy.
    if (this.#migrationFlags !== 0 && !linuxFlags && pf.precopy?.supported(vfid) === true)
      this.#migrationFlags |= VFIO_MIGRATION.PRE_COPY;
  }

  override get migrationFlags(): number {
    return this.#migrationFlags;
  }

  /** Source: xe_vfio_pci_get_device_state */
  override migrationState(): Promise<MigState> {
    return this.#withState(async () => this.#migState);
  }

  /** Source: xe_vfio_pci_set_device_state */
  override setMigrationState(state: number): Promise<MigrationData | undefined> {
    return this.#withState(async (pf) => {
      let file: MigrationData | undefined;
      for (;;) {
        // Deviation 1: a refusal changes nothing; Linux stops the VF (xe_sriov_vfio_error).
        const next = nextState(this.#migState, state, this.#migrationFlags);
        if (next === this.#migState) return file;
        file = await this.#arc(pf, next);
        this.#migState = next;
      }
    });
  }

  /**
   * Deviation 6: an error is an error; Linux reports it as a huge size.
   * Source: xe_vfio_pci_get_data_size
   */
  override migrationDataSize(): Promise<number> {
    return this.#withState((pf) => pf.stopCopySize(this.#vfid));
  }

  override async precopyInfo(): Promise<PrecopyInfo> {
    if ((this.#migrationFlags & VFIO_MIGRATION.PRE_COPY) === 0) return await super.precopyInfo();
    return await this.#withState(async (pf) => {
      const state = this.#migState;
      if (pf.precopy === undefined || (state !== PRE_COPY && state !== PRE_COPY_P2P))
        throw new Fault('EINVAL', `there is no pre-copy in ${migStateName(state)}`);
      return pf.precopy.progress(this.#vfid, this.#precopyInfoV2);
    });
  }

  /** For as long as the device is open. Source: vfio_ioctl_device_feature_migration_precopy_info_v2 */
  override enablePrecopyInfoV2(): void {
    if ((this.#migrationFlags & VFIO_MIGRATION.PRE_COPY) === 0) super.enablePrecopyInfoV2();
    this.#precopyInfoV2 = true;
  }

  override get precopyInfoV2(): boolean {
    return this.#precopyInfoV2;
  }

  /** Source: xe_vfio_pci_close_device */
  override async close(): Promise<void> {
    await this.#stateMutex.lock();
    await this.#endPrecopy();
    this.#reset();
    this.#precopyInfoV2 = false;
    this.#stateMutexUnlock();
    await super.close();
  }

  /** Source: xe_vfio_pci_reset_prepare */
  protected override async resetPrepare(): Promise<void> {
    if (this.#pf === undefined) return;
    this.#resetsUnderway++;
    try {
      await this.#pf.flrPrepare(this.#vfid);
    } catch (error) {
      this.tell('FLR preparation', error);
    }
  }

  /** Source: xe_vfio_pci_reset_done */
  protected override async resetDone(): Promise<void> {
    if (this.#pf === undefined) return;
    // The PF has work of its own to do after the function itself has answered again; without
    // waiting for it the VF could be used while its resources are still being cleared.
    try {
      await this.#pf.waitFlrDone(this.#vfid);
    } catch (error) {
      this.tell('FLR wait', error);
    }
    this.#resetsUnderway--;
    // Who holds the mutex may be waiting for what this reset has just cut off, so it is not waited
    // for: the holder does the rest when it unlocks.
    this.#deferredReset = true;
    if (this.#stateMutex.tryLock()) this.#stateMutexUnlock();
  }

  protected override noMigration(): Fault {
    const reason = this.#pf?.migrationUnsupportedReason() ?? 'this device is no VF';
    return new Fault('ENOTTY', `this device cannot be migrated: ${reason}`);
  }

  /** Runs `action` under the state mutex, on an open device that can be migrated. */
  async #withState<T>(action: (pf: XeSriovVfio) => Promise<T>): Promise<T> {
    const pf = this.#pf;
    if (pf === undefined || this.#migrationFlags === 0) throw this.noMigration();
    // A pause that is sent into a running FLR can leave a VF paused that is RUNNING by its state.
    while (this.#resetsUnderway > 0) await this.resetsSettled();
    await this.#stateMutex.lock();
    try {
      this.checkOpen();
      return await action(pf);
    } finally {
      this.#stateMutexUnlock();
    }
  }

  /** Every unlock handles a deferred reset, if there is one. */
  #stateMutexUnlock(): void {
    if (this.#deferredReset) {
      this.#deferredReset = false;
      this.#reset();
    }
    this.#stateMutex.unlock();
  }

  #reset(): void {
    this.#putFile();
    this.#migState = RUNNING;
  }

  /** A session that did not begin has no file (Linux keeps a pointer to one it has put). */
  #allocFile(direction: 'read' | 'write', pf: XeSriovVfio): XeVfioPciMigrationFile {
    this.#migf = new XeVfioPciMigrationFile(direction, pf, this.#vfid);
    return this.#migf;
  }

  #putFile(): void {
    this.#migf?.disable();
    this.#migf = undefined;
  }

  /** A pre-copy that nobody reads any more would go on looking for changes. */
  async #endPrecopy(): Promise<void> {
    if (this.#migState !== PRE_COPY && this.#migState !== PRE_COPY_P2P) return;
    try {
      await this.#pf?.precopy?.exit(this.#vfid);
    } catch (error) {
      this.tell('end of pre-copy', error);
    }
  }

  /** Takes one arc and sorts out what its failure means. */
  async #arc(pf: XeSriovVfio, next: MigState): Promise<MigrationData | undefined> {
    const current = this.#migState;
    try {
      return await this.#setState(pf, next);
    } catch (error) {
      // Deviation 2: a device that failed, or that is half loaded, is in ERROR until it is reset.
      // Linux stays in the old state, with the file gone and nothing that could succeed.
      const halfLoaded = current === RESUMING && error instanceof Fault;
      if (error instanceof DeviceFault || halfLoaded) await this.#fail(pf);
      throw error;
    }
  }

  /** Source: xe_vfio_set_state */
  async #setState(pf: XeSriovVfio, next: MigState): Promise<MigrationData | undefined> {
    const current = this.#migState;
    const vfid = this.#vfid;

    // Xe cannot block outgoing peer-to-peer DMA alone, so RUNNING_P2P does what STOP has to do. A
    // paused VF takes no new work, hence starts no DMA; accesses to its BARs until STOP still
    // count, because they are saved after it.
    if (
      (current === RUNNING && next === RUNNING_P2P) ||
      (current === PRE_COPY && next === PRE_COPY_P2P)
    ) {
      await pf.suspendDevice(vfid);
      return undefined;
    }

    if ((current === RUNNING_P2P && next === STOP) || (current === STOP && next === RUNNING_P2P))
      return undefined;

    if (
      (current === RUNNING_P2P && next === RUNNING) ||
      (current === PRE_COPY_P2P && next === PRE_COPY)
    ) {
      await pf.resumeDevice(vfid);
      return undefined;
    }

    if (
      (current === RUNNING && next === PRE_COPY) ||
      (current === RUNNING_P2P && next === PRE_COPY_P2P)
    ) {
      await pf.precopy?.enter(vfid);
      return this.#allocFile('read', pf);
    }

    if (
      (current === PRE_COPY && next === RUNNING) ||
      (current === PRE_COPY_P2P && next === RUNNING_P2P)
    ) {
      this.#putFile();
      await pf.precopy?.exit(vfid);
      return undefined;
    }

    // One stream and one file: what changed last, then what only a stopped VF can give.
    if (current === PRE_COPY_P2P && next === STOP_COPY) {
      await pf.stopCopyEnter(vfid);
      return undefined;
    }

    if (current === STOP && next === STOP_COPY) {
      await pf.stopCopyEnter(vfid);
      return this.#allocFile('read', pf);
    }

    // Deviation 8: also before everything was read, the PF drops what is left. (Linux answers EIO and the VF
    // cannot go on until it is reset, so that a cancelled migration loses its source.)
    if (current === STOP_COPY && next === STOP) {
      this.#putFile();
      await pf.stopCopyExit(vfid);
      return undefined;
    }

    if (current === STOP && next === RESUMING) {
      await pf.resumeDataEnter(vfid);
      return this.#allocFile('write', pf);
    }

    if (current === RESUMING && next === STOP) {
      this.#putFile();
      await pf.resumeDataExit(vfid);
      return undefined;
    }

    throw new TypeError(`unknown arc ${migStateName(current)} to ${migStateName(next)}`);
  }

  /** The VF is in ERROR and stops for good; a reset that runs already does better than that. */
  async #fail(pf: XeSriovVfio): Promise<void> {
    this.#putFile();
    this.#migState = ERROR;
    if (this.#resetsUnderway > 0 || this.#deferredReset) return;
    try {
      await pf.error(this.#vfid);
    } catch (error) {
      this.tell('VF stop', error);
    }
  }
}
