/**
 * Saving and restoring VFs over all GTs of the device.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_pf_migration.c, xe_sriov_pf_control.c.
 */
import { Fault } from '../base/fault.ts';
import { PACKET_HEADER_SIZE } from '../xe/migration-packet.ts';
import type { StreamTarget } from '../xe/migration-stream.ts';
import type { PrecopyProgress } from '../xe-vfio-pci/xe-sriov-vfio.ts';
import { abortSave, saveSize } from './control-data.ts';
import type { PfControl } from './pf-control.ts';
import type { PfDevicePort, VramLastPass, VramObject } from './ports.ts';
import { PrecopySession, type TrackedVram } from './precopy-session.ts';
import { RestoreSession } from './restore-session.ts';
import { SaveSession, STREAM_FRAME_SIZE } from './save-session.ts';
import type { VfResources } from './vf-control.ts';
import { VfMigration } from './vf-migration.ts';

/** The oldest firmware that can save and restore VFs. */
const MIN_GUC = { major: 70, minor: 54 } as const;

/**
 * Why a device cannot migrate its VFs, in one sentence; undefined when it can.
 *
 * Source: xe_sriov_pf_migration.c:pf_migration_check_support,
 * xe_gt_sriov_pf_migration.c:pf_gt_migration_check_support.
 */
export function migrationUnsupportedReason(device: PfDevicePort): string | undefined {
  if (device.totalVfs === 0) return 'the device has no SR-IOV';
  if (!device.hasMemirq || device.graphicsVerx100 < 1250)
    return 'memory-based interrupts are missing (graphics 12.50 or newer)';
  for (const { gts } of device.tiles) {
    for (const { id, guc } of gts) {
      const { major, minor, patch } = guc.version;
      if (major < MIN_GUC.major || (major === MIN_GUC.major && minor < MIN_GUC.minor))
        return `GuC firmware 70.54.0 or newer is needed, GT${id} runs ${major}.${minor}.${patch}`;
    }
  }
  return undefined;
}

/** What the migration of VFs needs. */
export interface PfMigrationOptions {
  readonly device: PfDevicePort;
  readonly control: PfControl;
  readonly resources: VfResources;
  /** Told how the last changes of a VF were found that was saved while it ran. */
  readonly onPrecopyStopped?: (vfid: number, pass: VramLastPass) => void;
}

/** The migration of all VFs. */
export class PfMigration {
  readonly unsupportedReason: string | undefined;
  readonly #device: PfDevicePort;
  readonly #control: PfControl;
  readonly #resources: VfResources;
  readonly #onPrecopyStopped: (vfid: number, pass: VramLastPass) => void;
  readonly #vfs = new Map<number, VfMigration>();

  constructor({ device, control, resources, onPrecopyStopped }: PfMigrationOptions) {
    this.#onPrecopyStopped = onPrecopyStopped ?? (() => {});
    this.unsupportedReason = migrationUnsupportedReason(device);
    this.#device = device;
    this.#control = control;
    this.#resources = resources;
  }

  /** The data path of a VF. */
  vf(vfid: number): VfMigration {
    let vf = this.#vfs.get(vfid);
    if (vf === undefined) {
      vf = new VfMigration(vfid);
      this.#vfs.set(vfid, vf);
    }
    return vf;
  }

  /** True when the VF has VRAM and all of it can be tracked while the VF runs. */
  canPrecopy(vfid: number): boolean {
    const vrams = this.#vrams(vfid);
    return vrams.length > 0 && vrams.every(({ vram }) => vram.trackable === true);
  }

  /** Begins to save a VF that may run. @throws {Fault} ENOPKG unsupported, EBUSY, ENOSYS */
  beginPrecopy(vfid: number): void {
    this.#needSupport();
    const vf = this.vf(vfid);
    if (vf.saving || vf.restore !== undefined)
      throw new Fault('EBUSY', `VF${vfid} is being migrated`);
    const tracked: TrackedVram[] = [];
    let total = 0;
    for (const { tile, gt, vram } of this.#vrams(vfid)) {
      const tracking = vram.track?.();
      if (tracking === undefined) {
        for (const begun of tracked) begun.tracking.close();
        throw new Fault('ENOSYS', `changes of VF${vfid}'s VRAM cannot be found on this machine`);
      }
      tracked.push({ tile, gt, tracking });
      total += vram.size;
    }
    const precopy = new PrecopySession(tracked, total);
    vf.begin({ save: new SaveSession(this.#control.vf(vfid), this.#device, vf.wait, precopy) });
  }

  /** Ends a saving that has not gone beyond its pre-copy. */
  endPrecopy(vfid: number): void {
    this.vf(vfid).end(new Fault('ENODEV', `the pre-copy of VF${vfid} has ended`));
  }

  /** What is left of a pre-copy. @throws {Fault} EINVAL outside of one */
  precopyProgress(vfid: number, mayReinit: boolean): PrecopyProgress {
    const save = this.vf(vfid).precopied;
    if (save === undefined || save.precopy.stopped)
      throw new Fault('EINVAL', `VF${vfid} is in no pre-copy`);
    const progress = save.precopy.progress(mayReinit);
    const { pendingBytes } = save;
    return progress.initialBytes > 0 || progress.dirtyBytes === 0
      ? { ...progress, initialBytes: progress.initialBytes + pendingBytes }
      : { ...progress, dirtyBytes: progress.dirtyBytes + pendingBytes };
  }

  /**
   * Goes on to save all of a VF that is paused now.
   * @throws {Fault} EPERM, EBUSY, EALREADY, ENODEV when the session ended meanwhile, EIO
   */
  async finishPrecopy(vfid: number): Promise<void> {
    const vf = this.vf(vfid);
    const save = vf.precopied;
    const passes = (await save?.precopy.stop()) ?? [];
    if (save === undefined || vf.precopied !== save)
      throw new Fault('ENODEV', `the pre-copy of VF${vfid} has ended`);
    this.#control.triggerSave(vfid, true);
    for (const pass of passes) this.#onPrecopyStopped(vfid, pass);
  }

  /** Begins to save a paused VF. @throws {Fault} ENOPKG unsupported, EPERM, EBUSY, EALREADY */
  beginSave(vfid: number): void {
    this.#needSupport();
    this.#control.triggerSave(vfid, false);
    const vf = this.vf(vfid);
    vf.begin({ save: new SaveSession(this.#control.vf(vfid), this.#device, vf.wait) });
  }

  /** Ends saving. @throws {Fault} EIO when a GT has not produced everything yet */
  finishSave(vfid: number): void {
    this.#control.finishSave(vfid);
    this.vf(vfid).end(new Fault('ENODEV', `saving VF${vfid} has ended`));
  }

  /** Ends saving before its end; the VF stays paused. */
  abortSave(vfid: number): void {
    for (const vf of this.#control.vf(vfid)) abortSave(vf);
    this.vf(vfid).end(new Fault('ENODEV', `saving VF${vfid} was given up`));
  }

  /** Begins to restore a paused VF. @throws {Fault} ENOPKG unsupported, EPERM, EBUSY, EALREADY */
  beginRestore(vfid: number): void {
    this.#needSupport();
    this.#control.triggerRestore(vfid);
    const vf = this.vf(vfid);
    const session = new RestoreSession(this.#control.vf(vfid), this.#target(vfid), vf.wait);
    vf.begin({ restore: session });
  }

  /**
   * Ends restoring.
   * @throws {StreamFault} the first error of the stream, ETIMEDOUT when its trailer is missing
   * @throws {Fault} EIO when nothing was restored
   */
  async finishRestore(vfid: number): Promise<void> {
    this.vf(vfid).restore?.finish();
    await this.#control.finishRestore(vfid);
    this.vf(vfid).end(new Fault('ENODEV', `restoring VF${vfid} has ended`));
  }

  /**
   * Bytes that saving would deliver now, exactly; in a pre-copy, as far as they are known.
   * @throws {Fault} ENOPKG unsupported, ENODATA, what firmware says
   */
  size(vfid: number): number {
    this.#needSupport();
    const save = this.vf(vfid).precopied;
    const frame =
      save === undefined
        ? STREAM_FRAME_SIZE
        : save.precopy.leftBytes + save.pendingBytes + PACKET_HEADER_SIZE;
    return this.#control
      .vf(vfid)
      .reduce((total, vf) => total + saveSize(vf, save !== undefined), frame);
  }

  /** The VRAM of a VF on each tile, with the GT that its packets name. */
  #vrams(vfid: number): { tile: number; gt: number; vram: VramObject }[] {
    return this.#device.tiles.flatMap(({ id: tile, gts }) => {
      const vram = this.#resources.vram(vfid, tile);
      const gt = gts.find(({ type }) => type === 'main')?.id;
      return vram === undefined || gt === undefined ? [] : [{ tile, gt, vram }];
    });
  }

  #needSupport(): void {
    if (this.unsupportedReason !== undefined) throw new Fault('ENOPKG', this.unsupportedReason);
  }

  /** What a stream for this VF must fit; sizes are the same on every tile. */
  #target(vfid: number): StreamTarget {
    const { deviceId, revisionId, tiles } = this.#device;
    const tile = tiles[0]?.id ?? 0;
    return {
      deviceId,
      revisionId,
      gts: tiles.flatMap(({ gts }) =>
        gts.map(({ id, tileId, type }) => ({ id, tile: tileId, type })),
      ),
      ggttSize: this.#resources.ggtt(vfid, tile)?.size ?? 0,
      vramSize: this.#resources.vram(vfid, tile)?.size ?? 0,
    };
  }
}
