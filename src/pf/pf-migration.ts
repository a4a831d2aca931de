/**
 * Saving and restoring VFs over all GTs of the device.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_pf_migration.c, xe_sriov_pf_control.c.
 */
import { Fault } from '../base/fault.ts';
import type { StreamTarget } from '../xe/migration-stream.ts';
import { abortSave, saveSize } from './control-data.ts';
import type { PfControl } from './pf-control.ts';
import type { PfDevicePort } from './ports.ts';
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
}

/** The migration of all VFs. */
export class PfMigration {
  readonly unsupportedReason: string | undefined;
  readonly #device: PfDevicePort;
  readonly #control: PfControl;
  readonly #resources: VfResources;
  readonly #vfs = new Map<number, VfMigration>();

  constructor({ device, control, resources }: PfMigrationOptions) {
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

  /** Begins to save a paused VF. @throws {Fault} ENOPKG unsupported, EPERM, EBUSY, EALREADY */
  beginSave(vfid: number): void {
    this.#needSupport();
    this.#control.triggerSave(vfid);
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
   * Bytes that saving would deliver now, exactly.
   * @throws {Fault} ENOPKG unsupported, ENODATA, what firmware says
   */
  size(vfid: number): number {
    this.#needSupport();
    return this.#control.vf(vfid).reduce((total, vf) => total + saveSize(vf), STREAM_FRAME_SIZE);
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
