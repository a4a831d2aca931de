/** The QEMU that waits for a VM, and the VF in it. */
import { Fault } from '../base/fault.ts';
import type { QmpClient } from './qmp.ts';
import { askVfServer } from './tool-request.ts';
import type { VfConnection } from './vf-connection.ts';
import { configDifferences, readConfig, replayConfig } from './vm-config.ts';
import { type VmFacts, vfsOf, vmStatus } from './vm-facts.ts';
import { VmMigration } from './vm-migration.ts';
import type { VmDeviceView } from './vm-source.ts';

/** A QEMU that was started with `-incoming defer`. */
export class VmTarget {
  readonly qmp: QmpClient;
  readonly vf: VfConnection;
  readonly facts: VmFacts;
  readonly migration: VmMigration;
  #contSent = false;

  constructor(qmp: QmpClient, facts: VmFacts, vf: VfConnection) {
    this.qmp = qmp;
    this.facts = facts;
    this.vf = vf;
    this.migration = new VmMigration(qmp, 'target');
  }

  /** True once the guest was told to run here: nobody else may then let it run. */
  get contSent(): boolean {
    return this.#contSent;
  }

  /** Sets QEMU up; the guest will not run before {@link cont}. @throws {Fault} EIO, ENODEV */
  async prepare(shared: boolean): Promise<void> {
    await this.migration.capabilities({ events: true, 'x-ignore-shared': shared });
    this.migration.forget();
    // Without -S a QEMU lets its guest run as soon as it is there; told to stop before, it does not.
    await this.qmp.execute('stop');
  }

  /** Lets QEMU take RAM in from `uri`. @throws {Fault} EIO, ENODEV */
  async incoming(uri: string): Promise<void> {
    await this.qmp.execute('migrate-incoming', { uri });
  }

  /**
   * Brings QEMU's view of its device to `view`, and sees whether it is.
   *
   * @throws {Fault} EIO with what is not as it should be; ENODEV
   */
  async replay(view: VmDeviceView): Promise<void> {
    const [before] = await vfsOf(this.qmp);
    if (before?.place === undefined) throw new Fault('EIO', 'the target QEMU shows no VF');
    await replayConfig(this.qmp, before.place, view.writes);
    const differences = configDifferences(readConfig(this.vf.device), view.writes);
    if (differences.length > 0)
      throw new Fault('EIO', `the target did not take over ${differences.join(', ')}`);
    const [{ irq }, [after]] = await Promise.all([
      askVfServer(this.vf.path, 'vf'),
      vfsOf(this.qmp),
    ]);
    if (irq !== view.irq)
      throw new Fault('EIO', 'the target QEMU did not connect the interrupts of the VF');
    const [is, must] = [JSON.stringify(after?.bars), JSON.stringify(view.bars)];
    if (is !== must) throw new Fault('EIO', `the BARs of the target are ${is}, not ${must}`);
  }

  /** Lets the loaded VF go on without a word to the guest. @throws {Fault} EOPNOTSUPP, EINVAL */
  async unnoticed(): Promise<void> {
    await askVfServer(this.vf.path, 'unnoticed');
  }

  /** Has the guest look at what an interrupt that got lost was for. @throws {Fault} ENODEV */
  async interrupt(): Promise<void> {
    await askVfServer(this.vf.path, 'interrupt');
  }

  /** Lets the guest run: the point of no return. @throws {Fault} EIO, ENODEV */
  async cont(): Promise<void> {
    const status = await vmStatus(this.qmp);
    if (status !== 'paused') throw new Fault('EIO', `the target QEMU is ${status}, not paused`);
    this.#contSent = true;
    await this.qmp.execute('cont');
    await this.migration.event('RESUME');
  }

  /** True when the guest certainly does not run here. */
  async isStopped(): Promise<boolean> {
    if (!this.#contSent) return true;
    return (await vmStatus(this.qmp).catch(() => 'unknown')) === 'paused';
  }

  /** Ends QEMU: the guest will not run here. */
  async quit(): Promise<void> {
    await this.qmp.execute('quit').catch(() => {});
  }
}
