/**
 * The PF driver of xe, as a library: who has what of the GPU, and the control and migration of VFs.
 *
 * Source: drivers/gpu/drm/xe/xe_pci_sriov.c (xe_pci_sriov_configure), xe_sriov_pf*.c.
 */
import { type Clock, systemClock } from '../base/clock.ts';
import { EventChannel } from '../base/event-channel.ts';
import { Fault, toFault } from '../base/fault.ts';
import { hxgAction } from '../xe/guc/hxg.ts';
import { GUC2PF_ACTION, VF_THRESHOLD, type VfThreshold } from '../xe/guc/pf-actions.ts';
import { type Executor, GtControl } from './gt-control.ts';
import { PfControl } from './pf-control.ts';
import type { PfEvent } from './pf-event.ts';
import { PfMigration } from './pf-migration.ts';
import { PfRelay } from './pf-relay.ts';
import { PfService } from './pf-service.ts';
import type { GtPort, PfDevicePort, TilePort } from './ports.ts';
import { Provisioning } from './provisioning.ts';
import type { ProvisioningProfile, VfConfig } from './provisioning-profile.ts';
import { SriovVfioExports } from './sriov-vfio-exports.ts';

/** What a PF driver is made for. */
export interface XePfOptions {
  readonly device: PfDevicePort;
  /** Time; the machine's own unless given. */
  readonly clock?: Clock;
  /** Runs the workers' steps; microtasks unless given. */
  readonly executor?: Executor;
  /** True when the PF itself renders nothing, so that VFs get more. */
  readonly adminOnly?: boolean;
}

/**
 * A PF driver.
 *
 * @example
 * const pf = new XePf({ device: gpu.device });
 * pf.enableVfs(2);
 * await pf.sriovVfio.suspendDevice(1);
 */
export class XePf {
  /** What happens, for logs. */
  readonly events = new EventChannel<PfEvent>();
  /** Control of VFs by hand, as debugfs has it. */
  readonly control: PfControl;
  readonly migration: PfMigration;
  readonly provisioning: Provisioning;
  readonly service: PfService;
  /** What the variant driver may call. */
  readonly sriovVfio: SriovVfioExports;
  readonly #device: PfDevicePort;
  #numVfs = 0;
  #disabling = false;

  /** @throws {Fault} ENOPKG for a graphics version that the driver does not know */
  constructor({ device, clock, executor, adminOnly }: XePfOptions) {
    this.#device = device;
    this.service = new PfService(device.graphicsVerx100, (vfid, version) =>
      this.events.emit({ type: 'handshake', vfid, version }),
    );
    this.provisioning = new Provisioning(device, adminOnly ?? false);
    const run = executor ?? queueMicrotask;
    const gts = device.tiles
      .flatMap((tile) => tile.gts.map((gt) => this.#addGt(tile, gt, clock ?? systemClock, run)))
      .sort((a, b) => a.id - b.id);
    this.control = new PfControl(gts.map(({ control }) => control));
    const { control, provisioning } = this;
    this.migration = new PfMigration({
      device,
      control,
      resources: provisioning,
      onPrecopyStopped: (vfid, pass) =>
        this.events.emit({ type: 'precopy-stopped', vfid, ...pass }),
    });
    this.sriovVfio = new SriovVfioExports({
      control,
      migration: this.migration,
      totalVfs: device.totalVfs,
      numVfs: () => this.#numVfs,
    });
  }

  /** VFs that are enabled. */
  get numVfs(): number {
    return this.#numVfs;
  }

  /**
   * Provisions and enables VFs 1 to `count`.
   * @param profile what each VF gets; the rest is shared out fairly
   * @throws {Fault} EINVAL for a count that is none, ERANGE above the device's total, EBUSY while
   * VFs are enabled, ENOSPC, what firmware says
   */
  enableVfs(count: number, profile: ProvisioningProfile = {}): void {
    if (!Number.isInteger(count) || count < 1)
      throw new Fault('EINVAL', `${count} is no number of VFs`);
    const { totalVfs } = this.#device;
    if (count > totalVfs) throw new Fault('ERANGE', `the device has at most ${totalVfs} VFs`);
    if (this.#numVfs > 0 || this.#disabling)
      throw new Fault('EBUSY', `${this.#numVfs} VFs are enabled already`);
    this.provisioning.provision(count, profile);
    this.#numVfs = count;
    this.events.emit({ type: 'vfs', enabled: count });
  }

  /** Disables all VFs: each is reset and its resources taken back. */
  async disableVfs(): Promise<void> {
    const count = this.#numVfs;
    if (count === 0) return;
    this.#numVfs = 0;
    this.#disabling = true;
    try {
      // A VF that cannot be reset goes all the same, as in Linux; the events have told why.
      for (let vfid = 1; vfid <= count; vfid++)
        await this.control.resetVf(vfid).catch(() => undefined);
      this.provisioning.unprovision(count);
    } finally {
      this.#disabling = false;
    }
    this.events.emit({ type: 'vfs', enabled: 0 });
  }

  /** What a VF has. @throws {Fault} EINVAL when it is not enabled */
  vfConfig(vfid: number): VfConfig {
    if (!Number.isInteger(vfid) || vfid < 1 || vfid > this.#numVfs)
      throw new Fault('EINVAL', `VF${vfid} is not enabled`);
    return this.provisioning.config(vfid);
  }

  /** Sets up one GT: its control, its relay, and who gets firmware's events. */
  #addGt(tile: TilePort, gt: GtPort, clock: Clock, executor: Executor): GtEntry {
    const { totalVfs } = this.#device;
    const { id } = gt;
    const control = new GtControl({
      tile,
      gt,
      clock,
      executor,
      totalVfs,
      resources: this.provisioning,
      syncFlr: (vfid) => this.control.syncFlr(vfid),
      resetService: (vfid) => this.service.reset(vfid),
      endSession: (vfid, reason) => this.migration.vf(vfid).end(reason),
      wakeSession: (vfid) => this.migration.vf(vfid).wait.wake(),
      report: (vfid, outcome, cause) =>
        this.events.emit({ type: 'control', vfid, gt: id, outcome, ...(cause && { cause }) }),
      reportSkipped: (vfid, packetType) =>
        this.events.emit({ type: 'packet-skipped', vfid, gt: id, packetType }),
    });
    const refused = (cause: Fault) => this.events.emit({ type: 'message-refused', gt: id, cause });
    const relay = new PfRelay({
      gt,
      totalVfs,
      executor,
      process: (vfid, message) => this.service.process(gt, vfid, message),
      failed: refused,
    });
    gt.guc.onEvent((message) => {
      try {
        this.#onEvent(control, relay, id, message);
      } catch (error) {
        refused(toFault(error));
      }
    });
    return { id, control };
  }

  #onEvent(control: GtControl, relay: PfRelay, gt: number, message: readonly number[]): void {
    const action = hxgAction(message[0] ?? 0);
    if (action === GUC2PF_ACTION.VF_STATE_NOTIFY.action) return control.stateNotify(message);
    if (action === GUC2PF_ACTION.RELAY_FROM_VF.action) return relay.fromVf(message);
    if (action !== GUC2PF_ACTION.ADVERSE_EVENT.action)
      throw new Fault('EOPNOTSUPP', `firmware sent unknown event 0x${action.toString(16)}`);
    if (message.length !== GUC2PF_ACTION.ADVERSE_EVENT.dwords)
      throw new Fault('EPROTO', `ADVERSE_EVENT of ${message.length} dwords`);
    const [, vfid = 0, key] = message;
    const names = Object.keys(VF_THRESHOLD) as VfThreshold[];
    const threshold = names.find((name) => VF_THRESHOLD[name].klv.key === key);
    this.events.emit({ type: 'adverse-event', vfid, gt, threshold });
  }
}

/** One GT's control. */
interface GtEntry {
  readonly id: number;
  readonly control: GtControl;
}
