/** The VM that is taken away: its QEMU and the VF in it, from the first check to the end. */
import { Fault, toFault } from '../base/fault.ts';
import type { RelayVersion } from '../pf/pf-service.ts';
import { MIG_STATE } from '../vfio/migration-state.ts';
import type { QmpClient } from './qmp.ts';
import { askVfServer, type ToolAnswer, ToolRequests } from './tool-request.ts';
import type { VfConnection } from './vf-connection.ts';
import { type ConfigWrite, configWrites, readConfig } from './vm-config.ts';
import { type VmFacts, vmStatus } from './vm-facts.ts';
import { VmMigration } from './vm-migration.ts';
import { barsOf, type VmBar } from './vm-pci.ts';
import type { VmStepOptions } from './vm-steps.ts';

/** What the other QEMU has to be brought to. */
export interface VmDeviceView {
  readonly writes: readonly ConfigWrite[];
  /** `VFIO_PCI_IRQ` index of the connected interrupts, undefined for none. */
  readonly irq: number | undefined;
  readonly bars: readonly VmBar[];
  /** What its driver agreed on with the PF's, undefined for nothing. */
  readonly relayVersion: RelayVersion | undefined;
}

/** How RAM goes. */
export interface RamOptions {
  /** It stays in files that both QEMUs map. */
  readonly shared: boolean;
  /** False leaves the log of the VF's writes out, for a test that shows what it is there for. */
  readonly dirtyLog: boolean;
  readonly maxDowntimeMs: number;
}

/** Page size of the log of the VF's writes. */
const LOG_PAGE_SIZE = 4096;
/** Requests to the server while the guest waits: what it is (twice), dirty pages, the fence. */
const MOST_REQUESTS = 4;

/** A running or paused VM. */
export class VmSource {
  readonly qmp: QmpClient;
  readonly vf: VfConnection;
  readonly facts: VmFacts;
  readonly migration: VmMigration;
  readonly #requests: ToolRequests;
  #ran = false;
  #unready = false;

  constructor(qmp: QmpClient, facts: VmFacts, vf: VfConnection) {
    this.qmp = qmp;
    this.facts = facts;
    this.vf = vf;
    this.migration = new VmMigration(qmp, 'source');
    this.#requests = new ToolRequests(vf.path);
  }

  /** True when the guest ran before. */
  get ran(): boolean {
    return this.#ran;
  }

  /**
   * Finds out whether it can go, where the guest does not notice.
   *
   * @returns what the VF's server tells
   * @throws {Fault} EBUSY in the middle of something else; EOPNOTSUPP for what cannot be moved
   */
  async check({ shared, dirtyLog }: RamOptions): Promise<ToolAnswer> {
    const { status } = this.facts;
    if (status !== 'running' && status !== 'paused')
      throw new Fault('EBUSY', `the source QEMU is ${status}`, {
        hint: 'a VM is moved while it runs or is paused',
      });
    this.#ran = status === 'running';
    const { status: migration = 'none' } = await this.migration.info();
    if (!['none', 'completed', 'failed', 'cancelled'].includes(migration))
      throw new Fault('EBUSY', `another migration of the source QEMU is ${migration}`);
    if (!(await this.migration.knows('pause-before-switchover')))
      throw new Fault('EOPNOTSUPP', 'this QEMU cannot pause before the switch-over');
    const vf = await askVfServer(this.vf.path, 'vf');
    configWrites(readConfig(this.vf.device), vf.irq);
    if (!shared && dirtyLog && vf.dmaLogging !== true)
      throw new Fault('EOPNOTSUPP', 'what this VF writes into guest memory cannot be seen', {
        hint: 'give both QEMUs the same memory-backend-file with share=on',
      });
    return vf;
  }

  /** Sets QEMU up and begins the log of what the VF writes. @throws {Fault} EIO, ENODEV */
  async prepare(
    { shared, dirtyLog, maxDowntimeMs }: RamOptions,
    more: Readonly<Record<string, boolean>> = {},
  ): Promise<void> {
    await this.#requests.prepare(MOST_REQUESTS);
    await this.migration.capabilities({
      events: true,
      'pause-before-switchover': true,
      'x-ignore-shared': shared,
      ...more,
    });
    await this.migration.parameters(maxDowntimeMs);
    this.migration.forget();
    if (!shared && dirtyLog) this.vf.device.dmaLoggingStart(LOG_PAGE_SIZE, []);
  }

  /**
   * Reads what the guest has made of the device.
   *
   * @throws {Fault} EIO, ETIMEDOUT, ENODEV, EOPNOTSUPP
   */
  async view(): Promise<VmDeviceView> {
    const config = readConfig(this.vf.device);
    const [bars, { irq, relayVersion, unready }] = await Promise.all([
      barsOf(this.qmp, this.facts.vfs[0]?.id ?? ''),
      this.#requests.ask('vf'),
    ]);
    this.#unready = unready === true;
    return { writes: configWrites(config, irq), irq, bars, relayVersion };
  }

  /**
   * Refuses what the guest's driver would not survive; it was so at the last {@link view}.
   *
   * @throws {Fault} EBUSY while it starts or leaves: firmware has no way to tell it of another place
   * in the GGTT
   */
  checkReady(): void {
    if (this.#unready)
      throw new Fault(
        'EBUSY',
        "the guest's driver is starting or leaving and cannot recover from a move",
        {
          hint: 'try again in a moment; a move with --transparent needs no recovery',
        },
      );
  }

  /**
   * Tells QEMU what the VF wrote. The vCPUs and the VF stand still.
   *
   * @returns how many pages were told
   * @throws {Fault} EIO, ETIMEDOUT, ENODEV
   */
  async tellDirty({ shared, dirtyLog }: RamOptions): Promise<number> {
    if (shared || !dirtyLog) return 0;
    return (await this.#requests.ask('rewrite')).pages ?? 0;
  }

  /**
   * Has QEMU send RAM until it has stopped the vCPUs for the rest.
   *
   * @param uri where to: `tcp:`, `unix:`, `file:`
   * @throws {Fault} EIO with QEMU's words, ECANCELED, ENODEV
   */
  async copyRam(uri: string, { signal, onEvent }: VmStepOptions<never>): Promise<void> {
    await this.qmp.execute('migrate', { uri });
    const paused = this.migration.until('pre-switchover', signal);
    void this.migration.tell(paused, (progress) => onEvent?.({ type: 'ram', progress }));
    await paused;
  }

  /**
   * Makes sure that a guest that goes on after it was saved changes nothing that belongs to what was
   * saved.
   * @throws {Fault} EOPNOTSUPP when it has a disk that it can write to
   */
  async checkDisks(): Promise<void> {
    const disks = (await this.qmp.execute('query-block')) as readonly {
      readonly device: string;
      readonly qdev?: string;
      readonly inserted?: { readonly ro: boolean };
    }[];
    const [disk] = disks.filter(({ inserted }) => inserted?.ro === false);
    if (disk === undefined) return;
    const name = disk.qdev ?? disk.device;
    throw new Fault('EOPNOTSUPP', `the guest would go on and write to its disk ${name}`, {
      hint: 'without --resume disk and memory stay as they belong together',
    });
  }

  /** Lets a guest go on whose state was saved. @throws {Fault} EIO, ENODEV */
  async cont(): Promise<void> {
    // QEMU says that it has completed a little before it can go on.
    while ((await vmStatus(this.qmp)) === 'finish-migrate');
    await this.qmp.execute('cont');
    await this.migration.event('RESUME');
  }

  /** Lets QEMU send the rest. @throws {Fault} EIO, ENODEV */
  async goOn(): Promise<void> {
    await this.qmp.execute('migrate-continue', { state: 'pre-switchover' });
  }

  /**
   * From here on the VF does not run again before a reset; nor does it when its server is gone.
   * @throws {Fault} EINVAL when the VF is not in STOP; ETIMEDOUT
   */
  async fence(): Promise<void> {
    try {
      await this.#requests.ask('fence');
    } catch (error) {
      if (!(await this.#isUnserved())) throw error;
    }
  }

  /**
   * Everything runs as before: first the VF, so that the guest finds it, then the vCPUs. A guest whose
   * VF is served by nobody any more runs on without it.
   *
   * @param ran whether the guest ran
   * @throws {Fault} ENODEV, ENOENT, ECONNREFUSED when one of them is gone; EIO, ETIMEDOUT
   */
  async resume(ran = this.#ran): Promise<void> {
    this.#requests.close();
    const lost = await this.#resumeVf();
    await this.migration.callOff(ran);
    await this.restoreCapabilities();
    if (ran && (await vmStatus(this.qmp)) !== 'running') await this.qmp.execute('cont');
    if (lost !== undefined) throw lost;
  }

  /** @returns why there is no VF any more; undefined when it runs. @throws {Fault} when it does not */
  async #resumeVf(): Promise<Fault | undefined> {
    const { device, path } = this.vf;
    try {
      await askVfServer(path, 'unfence');
      if ((await device.migrationState()) !== MIG_STATE.RUNNING)
        await device.setMigrationState(MIG_STATE.RUNNING);
      return undefined;
    } catch (error) {
      if (!(await this.#isUnserved())) throw error;
      return toFault(error);
    }
  }

  async #isUnserved(): Promise<boolean> {
    return (await this.vf.probe().catch(() => null)) === undefined;
  }

  /** Leaves QEMU as it was found. @throws {Fault} EIO, ENODEV */
  async restoreCapabilities(): Promise<void> {
    await this.migration.capabilities({
      'pause-before-switchover': false,
      'x-ignore-shared': false,
      ...((await this.migration.knows('mapped-ram')) ? { 'mapped-ram': false } : {}),
    });
  }

  /** Ends the connections that were made beforehand. Idempotent. */
  close(): void {
    this.#requests.close();
  }

  /** Ends QEMU, whose guest runs elsewhere. */
  async quit(): Promise<void> {
    await this.qmp.execute('quit').catch(() => {});
  }
}
