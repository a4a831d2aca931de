/** The QEMU that waits for a VM, and the VF in it. */
import { Fault } from '../base/fault.ts';
import { UnixSocket } from '../sys/unix-socket.ts';
import type { QmpClient } from './qmp.ts';
import { type ToolAnswer, ToolRequests } from './tool-request.ts';
import type { VfConnection } from './vf-connection.ts';
import {
  configDifferences,
  configUndo,
  type PciPlace,
  readConfig,
  replayConfig,
} from './vm-config.ts';
import { type VmFacts, vfsOf, vmStatus } from './vm-facts.ts';
import { VmMigration } from './vm-migration.ts';
import { barsOf, bridgeOf, bridgeWrites, hasBridge } from './vm-pci.ts';
import type { VmDeviceView, VmSource } from './vm-source.ts';

/** Requests to the server while the guest waits: the VF twice, how it goes on, an interrupt. */
const MOST_REQUESTS = 4;

/** A QEMU that was started with `-incoming defer`. */
export class VmTarget {
  readonly qmp: QmpClient;
  readonly vf: VfConnection;
  readonly facts: VmFacts;
  readonly migration: VmMigration;
  readonly #requests: ToolRequests;
  #contSent = false;
  /** Where the device is on its buses, once it can be reached. */
  #place: PciPlace | undefined;
  /** What its view of the device was brought to. */
  #replayed: VmDeviceView | undefined;

  constructor(qmp: QmpClient, facts: VmFacts, vf: VfConnection) {
    this.qmp = qmp;
    this.facts = facts;
    this.vf = vf;
    this.migration = new VmMigration(qmp, 'target');
    this.#requests = new ToolRequests(vf.path);
  }

  /** True once the guest was told to run here: nobody else may then let it run. */
  get contSent(): boolean {
    return this.#contSent;
  }

  /** Sets QEMU up; the guest will not run before {@link cont}. @throws {Fault} EIO, ENODEV */
  async prepare(capabilities: Readonly<Record<string, boolean>>): Promise<void> {
    await this.#requests.prepare(MOST_REQUESTS);
    await this.migration.capabilities({ events: true, ...capabilities });
    this.migration.forget();
    // Without -S a QEMU lets its guest run as soon as it is there; told to stop before, it does not.
    await this.qmp.execute('stop');
  }

  /** Lets QEMU take RAM in from `uri`. @throws {Fault} EIO, ENODEV */
  async incoming(uri: string): Promise<void> {
    await this.qmp.execute('migrate-incoming', { uri });
  }

  /** What its server tells of the VF. @throws {Fault} EOPNOTSUPP, ENOENT, ECONNREFUSED */
  async vfAnswer(): Promise<ToolAnswer> {
    return await this.#requests.ask('vf');
  }

  /**
   * Makes it possible to replay the view before the guest is here: a bridge before the device gets the
   * bus numbers that the guest's firmware gave it, as the guest's state will have them, too.
   *
   * @returns false when the device cannot be reached yet
   * @throws {Fault} EIO, ENODEV
   */
  async reachEarly(source: VmSource): Promise<boolean> {
    this.#place = this.facts.vfs[0]?.place;
    if (this.#place?.bus === 0) return true;
    this.#place = undefined;
    const [vf] = source.facts.vfs;
    const bridge = await bridgeOf(source.qmp, vf?.id ?? '');
    if (bridge === undefined || bridge.place.bus !== 0) return false;
    if (!(await hasBridge(this.qmp, bridge.place))) return false;
    await replayConfig(this.qmp, bridge.place, bridgeWrites(bridge));
    const place = (await vfsOf(this.qmp))[0]?.place;
    if (place?.bus !== bridge.secondary) return false;
    this.#place = place;
    return true;
  }

  /**
   * Brings QEMU's view of its device to `view`, unless it is there already, and sees whether it is.
   *
   * @throws {Fault} EIO with what is not as it should be; ENODEV
   */
  async replay(view: VmDeviceView): Promise<void> {
    const { writes, irq, bars } = view;
    const is = this.#replayed;
    if (is !== undefined && sameView(is, view)) return;
    const place = this.#place ?? (await vfsOf(this.qmp))[0]?.place;
    if (place === undefined) throw new Fault('EIO', 'the target QEMU shows no VF');
    const undo = is === undefined ? [] : configUndo(is.writes);
    this.#replayed = undefined;
    await replayConfig(this.qmp, place, [...undo, ...writes]);
    const differences = configDifferences(readConfig(this.vf.device), writes);
    if (differences.length > 0)
      throw new Fault('EIO', `the target did not take over ${differences.join(', ')}`);
    const id = this.facts.vfs[0]?.id ?? '';
    const [after, found] = await Promise.all([this.vfAnswer(), barsOf(this.qmp, id)]);
    if (after.irq !== irq)
      throw new Fault('EIO', 'the target QEMU did not connect the interrupts of the VF');
    if (!sameBars(found, bars))
      throw new Fault(
        'EIO',
        `the BARs of the target are ${JSON.stringify(found)}, not ${JSON.stringify(bars)}`,
      );
    this.#replayed = view;
  }

  /** Lets the loaded VF go on without a word to the guest. @throws {Fault} EOPNOTSUPP, EINVAL */
  async unnoticed({ relayVersion }: VmDeviceView): Promise<void> {
    await this.#requests.ask('unnoticed', { relayVersion });
  }

  /** Has the guest look at what an interrupt that got lost was for. @throws {Fault} ENODEV */
  async interrupt(): Promise<void> {
    await this.#requests.ask('interrupt');
  }

  /** Sees whether the guest can be told to run. @throws {Fault} EIO, ENODEV */
  async checkPaused(): Promise<void> {
    const status = await vmStatus(this.qmp);
    if (status !== 'paused') throw new Fault('EIO', `the target QEMU is ${status}, not paused`);
  }

  /**
   * Sees whether the VF that the guest will find is still served. The server is not asked: it has the
   * guest's jobs to do by now.
   * @throws {Fault} ENOENT, ECONNREFUSED
   */
  checkVf(): void {
    try {
      UnixSocket.connect(this.vf.path).close();
    } catch (error) {
      // A full backlog has somebody to whom it belongs.
      if (!(error instanceof Fault && error.code === 'EAGAIN')) throw error;
    }
  }

  /**
   * Lets the guest run: the point of no return. Comes after {@link checkPaused}.
   * @throws {Fault} EIO, ENODEV
   */
  async cont(): Promise<void> {
    this.#contSent = true;
    await this.qmp.execute('cont');
    await this.migration.event('RESUME');
  }

  /** True when the guest certainly does not run here. */
  async isStopped(): Promise<boolean> {
    if (!this.#contSent) return true;
    return (await vmStatus(this.qmp).catch(() => 'unknown')) === 'paused';
  }

  /** Ends the connections that were made beforehand. Idempotent. */
  close(): void {
    this.#requests.close();
  }

  /** Ends QEMU: the guest will not run here. */
  async quit(): Promise<void> {
    await this.qmp.execute('quit').catch(() => {});
  }
}

function sameView(a: VmDeviceView, b: VmDeviceView): boolean {
  const same = JSON.stringify(a.writes) === JSON.stringify(b.writes);
  return same && a.irq === b.irq && sameBars(a.bars, b.bars);
}

function sameBars(a: VmDeviceView['bars'], b: VmDeviceView['bars']): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
