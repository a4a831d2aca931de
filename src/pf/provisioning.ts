/**
 * Who gets how much of the device.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_pf_provision.c, xe_gt_sriov_pf_config.c.
 */
import { Fault, toFault } from '../base/fault.ts';
import {
  GUC_ID_MAX,
  GUC_NUM_DOORBELLS,
  SCHED_PRIORITY,
  type VfThreshold,
} from '../xe/guc/pf-actions.ts';
import {
  FAIR_SCHED,
  fairContexts,
  fairDoorbells,
  fairGgtt,
  fairVram,
  MIN_SPARE,
} from './fair-share.ts';
import type { GtConfig } from './gt-config.ts';
import type { PfDevicePort } from './ports.ts';
import type { ProvisioningProfile, Spare, VfConfig } from './provisioning-profile.ts';
import { TileConfig } from './tile-config.ts';
import type { VfResources } from './vf-control.ts';

const SPARE_LIMIT: Partial<Record<keyof Spare, number>> = {
  contexts: GUC_ID_MAX,
  doorbells: GUC_NUM_DOORBELLS,
};

/** The provisioning of all VFs. */
export class Provisioning implements VfResources {
  readonly #tiles: readonly TileConfig[];
  readonly #adminOnly: boolean;
  #spare: Spare = MIN_SPARE;
  #mode: 'auto' | 'custom' = 'auto';

  constructor(device: PfDevicePort, adminOnly: boolean) {
    this.#tiles = device.tiles.map((tile) => new TileConfig(tile));
    this.#adminOnly = adminOnly;
  }

  /** `auto`: VFs are provisioned and unprovisioned as they come and go; `custom`: by hand only. */
  get mode(): 'auto' | 'custom' {
    return this.#mode;
  }

  /**
   * Goes back to automatic provisioning and takes everything from every VF.
   * @throws {Fault} EBUSY while VFs are enabled
   */
  restoreAuto(enabledVfs: number, totalVfs: number): void {
    if (this.#mode === 'auto') return;
    if (enabledVfs > 0) throw new Fault('EBUSY', 'VFs must be disabled first');
    for (let vfid = 1; vfid <= totalVfs; vfid++) this.#release(vfid);
    this.#mode = 'auto';
  }

  /** What the PF keeps for itself. */
  get spare(): Spare {
    return this.#spare;
  }

  /**
   * Sets what the PF keeps of one resource; 0 stands for the least there is.
   * @throws {Fault} EINVAL below the least or above all there is
   */
  setSpare(resource: keyof Spare, value: number): void {
    const least = MIN_SPARE[resource];
    if (value > (SPARE_LIMIT[resource] ?? Number.POSITIVE_INFINITY) || (value > 0 && value < least))
      throw new Fault('EINVAL', `the PF cannot keep ${value} of ${resource}, at least ${least}`);
    this.#spare = { ...this.#spare, [resource]: Math.max(value, least) };
  }

  /** Gives a VF GGTT. @throws {Fault} ENOSPC, what firmware says */
  setGgtt(vfid: number, size: number): void {
    this.#byHand(this.#tiles, (tile) => tile.setGgtt(vfid, size));
  }

  /** Gives a VF VRAM. @throws {Fault} EPERM on an integrated device, ENOSPC, what firmware says */
  setVram(vfid: number, size: number): void {
    this.#byHand(this.#tiles, (tile) => tile.setVram(vfid, size));
  }

  /** Gives a VF context ids. @throws {Fault} EINVAL, EDQUOT, ENOSPC, what firmware says */
  setContexts(vfid: number, count: number): void {
    this.#byHand(this.#gts, (gt) => gt.setContexts(vfid, count, this.#spare.contexts));
  }

  /** Gives a VF doorbells. @throws {Fault} EINVAL, EDQUOT, ENOSPC, what firmware says */
  setDoorbells(vfid: number, count: number): void {
    this.#byHand(this.#gts, (gt) => gt.setDoorbells(vfid, count, this.#spare.doorbells));
  }

  /** Sets the time slice of a VF, or of the PF (0). @throws {Fault} what firmware says */
  setExecQuantum(vfid: number, ms: number): void {
    this.#byHand(this.#gts, (gt) => gt.setExecQuantum(vfid, ms));
  }

  /** Sets the preemption timeout of a VF, or of the PF (0). @throws {Fault} what firmware says */
  setPreemptTimeout(vfid: number, us: number): void {
    this.#byHand(this.#gts, (gt) => gt.setPreemptTimeout(vfid, us));
  }

  /** Sets the PF's priority; VFs have none of their own. @throws {Fault} EOPNOTSUPP for a VF */
  setSchedPriority(vfid: number, priority: number): void {
    if (vfid !== 0) throw new Fault('EOPNOTSUPP', 'only the PF has a priority of its own');
    this.#byHand(this.#gts, (gt) => gt.setSchedPriority(vfid, priority));
  }

  /** Sets a threshold for adverse events of a VF. @throws {Fault} EKEYREJECTED */
  setThreshold(vfid: number, threshold: VfThreshold, value: number): void {
    this.#byHand(this.#gts, (gt) => gt.setThreshold(vfid, threshold, value));
  }

  /**
   * Provisions VFs 1 to `vfs` in automatic mode; does nothing in custom mode.
   * @throws {Fault} the first failure; everything was taken back then
   */
  provision(vfs: number, profile: ProvisioningProfile): void {
    if (this.#mode === 'custom') return;
    try {
      inTurn(this.#tiles, (tile) => this.#provisionTile(tile, vfs, profile));
    } catch (error) {
      this.unprovision(vfs);
      throw error;
    }
  }

  /** Takes everything from VFs 1 to `vfs` and from the PF in automatic mode. */
  unprovision(vfs: number): void {
    if (this.#mode === 'custom') return;
    for (let vfid = 1; vfid <= vfs; vfid++) this.#release(vfid);
    failures(this.#gts, (gt) => {
      if (!gt.customSched(0)) return;
      gt.setExecQuantum(0, 0);
      gt.setPreemptTimeout(0, 0);
      gt.setSchedPriority(0, SCHED_PRIORITY.LOW);
    });
  }

  /** What a VF has. */
  config(vfid: number): VfConfig {
    const tile = this.#tiles[0];
    const gt = tile?.gts[0]?.of(vfid);
    const ggtt = tile?.ggtt(vfid);
    return {
      ggttStart: ggtt?.start ?? 0,
      ggttSize: ggtt?.size ?? 0,
      vramSize: tile?.vram(vfid)?.size ?? 0,
      contexts: gt?.contexts ?? 0,
      doorbells: gt?.doorbells ?? 0,
      execQuantumMs: gt?.execQuantumMs ?? 0,
      preemptTimeoutUs: gt?.preemptTimeoutUs ?? 0,
    };
  }

  /**
   * Whether a VF has all that it needs on every GT; doorbells are optional.
   * @returns undefined, or ENODATA when it has nothing, ENOKEY when something is missing
   */
  validity(vfid: number): Fault | undefined {
    for (const tile of this.#tiles) {
      for (const gt of tile.gts) {
        const { contexts, doorbells } = gt.of(vfid);
        const shared = [tile.ggtt(vfid) !== undefined];
        if (tile.tile.vram !== undefined) shared.push(tile.vram(vfid) !== undefined);
        if (contexts > 0 && shared.every(Boolean)) continue;
        const own = contexts > 0 || doorbells > 0 || gt.customSched(vfid);
        const any = own || (gt.gt.type === 'main' && shared.some(Boolean));
        return any
          ? new Fault('ENOKEY', `VF${vfid} lacks a resource of GT${gt.gt.id}`)
          : new Fault('ENODATA', `VF${vfid} has nothing of GT${gt.gt.id}`);
      }
    }
    return undefined;
  }

  ggtt(vfid: number, tileId: number): ReturnType<VfResources['ggtt']> {
    return this.#tile(tileId)?.ggtt(vfid);
  }

  vram(vfid: number, tileId: number): ReturnType<VfResources['vram']> {
    return this.#tile(tileId)?.vram(vfid);
  }

  sanitize(vfid: number, tileId: number): void {
    this.#tile(tileId)?.sanitize(vfid);
  }

  get #gts(): GtConfig[] {
    return this.#tiles.flatMap(({ gts }) => gts);
  }

  #tile(id: number): TileConfig | undefined {
    return this.#tiles.find(({ tile }) => tile.id === id);
  }

  /** A change by hand ends automatic provisioning. */
  #byHand<T>(items: readonly T[], change: (item: T) => void): void {
    inTurn(items, change);
    this.#mode = 'custom';
  }

  #release(vfid: number): void {
    for (const tile of this.#tiles) {
      // What firmware makes of it does not matter: the VF is gone either way.
      failures(tile.gts, (gt) => gt.forget(vfid));
      tile.release(vfid);
    }
  }

  #provisionTile(tile: TileConfig, vfs: number, profile: ProvisioningProfile): void {
    const vfids = Array.from({ length: vfs }, (_, n) => n + 1);
    for (const gt of tile.gts) this.#provisionSched(gt, vfids, profile);
    const ggtt =
      profile.ggttSize ??
      this.#fair('GGTT', tile.ggttShare(vfs, this.#spare.ggtt), fairGgtt(vfs, this.#adminOnly));
    for (const vfid of vfids) tile.setGgtt(vfid, ggtt);
    if (tile.tile.vram !== undefined && !tile.hasVram) {
      const profileVram = fairVram(vfs, tile.tile.vram.usable, this.#adminOnly);
      const vram =
        profile.vramSize ?? this.#fair('VRAM', tile.vramShare(vfs, this.#spare.vram), profileVram);
      for (const vfid of vfids) tile.setVram(vfid, vram);
    }
    for (const gt of tile.gts) this.#provisionIds(gt, vfids, profile);
  }

  #provisionIds(gt: GtConfig, vfids: readonly number[], profile: ProvisioningProfile): void {
    const { contexts: spareContexts, doorbells: spareDoorbells } = this.#spare;
    const vfs = vfids.length;
    const contexts =
      profile.contexts ??
      this.#fair(
        'contexts',
        gt.contextsShare(vfs, spareContexts),
        fairContexts(vfs, this.#adminOnly),
      );
    const doorbells =
      profile.doorbells ??
      this.#fair(
        'doorbells',
        gt.doorbellsShare(vfs, spareDoorbells),
        fairDoorbells(vfs, this.#adminOnly),
      );
    for (const vfid of vfids) gt.setContexts(vfid, contexts, spareContexts);
    for (const vfid of vfids) gt.setDoorbells(vfid, doorbells, spareDoorbells);
  }

  #provisionSched(gt: GtConfig, vfids: readonly number[], profile: ProvisioningProfile): void {
    const functions = [0, ...vfids];
    if (functions.some((vfid) => gt.customSched(vfid))) return;
    const execQuantumMs = profile.execQuantumMs ?? FAIR_SCHED.execQuantumMs;
    const preemptTimeoutUs = profile.preemptTimeoutUs ?? FAIR_SCHED.preemptTimeoutUs;
    for (const vfid of functions) gt.setExecQuantum(vfid, execQuantumMs);
    for (const vfid of functions) gt.setPreemptTimeout(vfid, preemptTimeoutUs);
    if (this.#adminOnly) gt.setSchedPriority(0, SCHED_PRIORITY.HIGH);
  }

  /** The lesser of what is there and what the profile says. @throws {Fault} ENOSPC for nothing */
  #fair(what: string, available: number, wanted: number): number {
    if (available === 0 || wanted === 0) throw new Fault('ENOSPC', `there is not enough ${what}`);
    return Math.min(available, wanted);
  }
}

/** Does all of it, and only then throws the first failure. */
function inTurn<T>(items: readonly T[], change: (item: T) => void): void {
  const faults = failures(items, change);
  if (faults[0] !== undefined) throw faults[0];
}

function failures<T>(items: readonly T[], change: (item: T) => void): Fault[] {
  const faults: Fault[] = [];
  for (const item of items) {
    try {
      change(item);
    } catch (error) {
      faults.push(toFault(error));
    }
  }
  return faults;
}
