/**
 * What each function has of one GT: context ids, doorbells, scheduling, thresholds.
 *
 * Source: drivers/gpu/drm/xe/xe_gt_sriov_pf_config.c.
 */
import { Fault } from '../base/fault.ts';
import {
  EXEC_QUANTUM_MAX_MS,
  GUC_ID_MAX,
  GUC_NUM_DOORBELLS,
  PREEMPT_TIMEOUT_MAX_US,
  SCHED_PRIORITY,
  VF_CFG_KLV,
  VF_THRESHOLD,
  type VfThreshold,
} from '../xe/guc/pf-actions.ts';
import { IdAllocator } from './id-allocator.ts';
import type { GtPort, VramObject } from './ports.ts';
import { type ConfigKlv, forgetConfig, pushConfig } from './push-config.ts';

/** What one function has of one GT. */
interface FunctionConfig {
  beginContext: number;
  contexts: number;
  beginDoorbell: number;
  doorbells: number;
  /** 0: no limit. */
  execQuantumMs: number;
  /** 0: no limit. */
  preemptTimeoutUs: number;
  schedPriority: number;
  readonly thresholds: Map<VfThreshold, number>;
}

/** What the GTs of a tile share. */
interface TileResources {
  ggtt(vfid: number): { readonly start: number; readonly size: number } | undefined;
  vram(vfid: number): VramObject | undefined;
}

/** The configuration of one GT's functions. */
export class GtConfig {
  readonly gt: GtPort;
  readonly #tile: TileResources;
  readonly #contexts = new IdAllocator();
  readonly #doorbells = new IdAllocator();
  readonly #functions = new Map<number, FunctionConfig>();

  constructor(gt: GtPort, tile: TileResources) {
    this.gt = gt;
    this.#tile = tile;
    this.#contexts.init(GUC_ID_MAX);
    this.#doorbells.init(GUC_NUM_DOORBELLS);
  }

  /** What a function has; `vfid` 0 is the PF. */
  of(vfid: number): Readonly<FunctionConfig> {
    return this.#of(vfid);
  }

  /** The most context ids that each of `vfs` VFs can have. */
  contextsShare(vfs: number, spare: number): number {
    return this.#contexts.fairShare(vfs, spare);
  }

  /** The most doorbells that each of `vfs` VFs can have. */
  doorbellsShare(vfs: number, spare: number): number {
    return this.#doorbells.fairShare(vfs, spare);
  }

  /**
   * Gives a VF `count` context ids instead of those it has.
   * @throws {Fault} EINVAL above the limit, EDQUOT, ENOSPC, what firmware says; the VF then has none
   */
  setContexts(vfid: number, count: number, spare: number): void {
    if (count > GUC_ID_MAX)
      throw new Fault('EINVAL', `${count} contexts are more than ${GUC_ID_MAX}`);
    const config = this.#of(vfid);
    if (config.contexts > 0) {
      this.#push(vfid, contextKlvs(0, 0));
      this.#releaseContexts(config);
      this.refresh(vfid);
    }
    if (count === 0) return;
    config.beginContext = this.#contexts.reserve(count, spare, 'top');
    config.contexts = count;
    try {
      this.#push(vfid, contextKlvs(config.beginContext, count));
    } catch (error) {
      this.#releaseContexts(config);
      throw error;
    }
  }

  /**
   * Gives a VF `count` doorbells instead of those it has.
   * @throws {Fault} EINVAL above the limit, EDQUOT, ENOSPC, what firmware says; the VF then has none
   */
  setDoorbells(vfid: number, count: number, spare: number): void {
    if (count > GUC_NUM_DOORBELLS)
      throw new Fault('EINVAL', `${count} doorbells are more than ${GUC_NUM_DOORBELLS}`);
    const config = this.#of(vfid);
    if (config.doorbells > 0) {
      this.#push(vfid, doorbellKlvs(0, 0));
      this.#releaseDoorbells(config);
      this.refresh(vfid);
    }
    if (count === 0) return;
    config.beginDoorbell = this.#doorbells.reserve(count, spare, 'bottom');
    config.doorbells = count;
    try {
      this.#push(vfid, doorbellKlvs(config.beginDoorbell, count));
    } catch (error) {
      this.#releaseDoorbells(config);
      throw error;
    }
  }

  /** Sets a function's time slice, clamped to what firmware takes. @throws {Fault} */
  setExecQuantum(vfid: number, ms: number): void {
    const value = Math.min(ms, EXEC_QUANTUM_MAX_MS);
    this.#push(vfid, [[VF_CFG_KLV.EXEC_QUANTUM, value]]);
    this.#of(vfid).execQuantumMs = value;
  }

  /** Sets how long a function may resist preemption, clamped. @throws {Fault} */
  setPreemptTimeout(vfid: number, us: number): void {
    const value = Math.min(us, PREEMPT_TIMEOUT_MAX_US);
    this.#push(vfid, [[VF_CFG_KLV.PREEMPT_TIMEOUT, value]]);
    this.#of(vfid).preemptTimeoutUs = value;
  }

  /** Sets a function's priority, a value of {@link SCHED_PRIORITY}. @throws {Fault} */
  setSchedPriority(vfid: number, priority: number): void {
    this.#push(vfid, [[VF_CFG_KLV.SCHED_PRIORITY, priority]]);
    this.#of(vfid).schedPriority = priority;
  }

  /**
   * Sets a threshold; 0 turns it off.
   * @throws {Fault} EKEYREJECTED when the firmware is too old for it, what firmware says
   */
  setThreshold(vfid: number, threshold: VfThreshold, value: number): void {
    if (!this.#knows(threshold))
      throw new Fault('EKEYREJECTED', `the firmware of GT${this.gt.id} has no ${threshold}`);
    this.#push(vfid, [[VF_THRESHOLD[threshold].klv, value]]);
    this.#of(vfid).thresholds.set(threshold, value);
  }

  /** True when something of a function's scheduling is not as it was at the start. */
  customSched(vfid: number): boolean {
    const { execQuantumMs, preemptTimeoutUs, schedPriority } = this.#of(vfid);
    return execQuantumMs > 0 || preemptTimeoutUs > 0 || schedPriority !== SCHED_PRIORITY.LOW;
  }

  /** Gives firmware all of a VF's configuration anew. @throws {Fault} */
  refresh(vfid: number): void {
    forgetConfig(this.gt.guc, vfid);
    pushConfig(this.gt.guc, vfid, this.#allKlvs(vfid));
  }

  /** Pushes the GGTT of a VF, which its tile keeps. @throws {Fault} */
  pushGgtt(vfid: number, start: number, size: number): void {
    this.#push(vfid, ggttKlvs(start, size));
  }

  /** Pushes the VRAM of a VF, which its tile keeps. @throws {Fault} */
  pushVram(vfid: number, size: number): void {
    this.#push(vfid, [[VF_CFG_KLV.LMEM_SIZE, size]]);
  }

  /** Makes firmware forget the VF's configuration. @throws {Fault} */
  forget(vfid: number): void {
    forgetConfig(this.gt.guc, vfid);
  }

  /** Takes back all that a VF has of this GT, without telling firmware. */
  release(vfid: number): void {
    const config = this.#of(vfid);
    this.#releaseContexts(config);
    this.#releaseDoorbells(config);
    this.#functions.delete(vfid);
  }

  #of(vfid: number): FunctionConfig {
    let config = this.#functions.get(vfid);
    if (config === undefined) {
      config = {
        beginContext: 0,
        contexts: 0,
        beginDoorbell: 0,
        doorbells: 0,
        execQuantumMs: 0,
        preemptTimeoutUs: 0,
        schedPriority: SCHED_PRIORITY.LOW,
        thresholds: new Map(),
      };
      this.#functions.set(vfid, config);
    }
    return config;
  }

  #push(vfid: number, klvs: readonly ConfigKlv[]): void {
    pushConfig(this.gt.guc, vfid, klvs);
  }

  #releaseContexts(config: FunctionConfig): void {
    if (config.contexts > 0) this.#contexts.release(config.beginContext);
    config.beginContext = 0;
    config.contexts = 0;
  }

  #releaseDoorbells(config: FunctionConfig): void {
    if (config.doorbells > 0) this.#doorbells.release(config.beginDoorbell);
    config.beginDoorbell = 0;
    config.doorbells = 0;
  }

  #knows(threshold: VfThreshold): boolean {
    const { major, minor } = this.gt.guc.version;
    return major > 70 || (major === 70 && minor >= VF_THRESHOLD[threshold].sinceMinor);
  }

  #allKlvs(vfid: number): ConfigKlv[] {
    const config = this.#of(vfid);
    const klvs: ConfigKlv[] = [];
    const ggtt = this.#tile.ggtt(vfid);
    if (ggtt !== undefined) klvs.push(...ggttKlvs(ggtt.start, ggtt.size));
    if (config.contexts > 0) klvs.push([VF_CFG_KLV.BEGIN_CONTEXT_ID, config.beginContext]);
    klvs.push([VF_CFG_KLV.NUM_CONTEXTS, config.contexts]);
    if (config.doorbells > 0) klvs.push([VF_CFG_KLV.BEGIN_DOORBELL_ID, config.beginDoorbell]);
    klvs.push([VF_CFG_KLV.NUM_DOORBELLS, config.doorbells]);
    const vram = this.gt.type === 'main' ? this.#tile.vram(vfid) : undefined;
    if (vram !== undefined) klvs.push([VF_CFG_KLV.LMEM_SIZE, vram.size]);
    klvs.push([VF_CFG_KLV.EXEC_QUANTUM, config.execQuantumMs]);
    klvs.push([VF_CFG_KLV.PREEMPT_TIMEOUT, config.preemptTimeoutUs]);
    if (config.schedPriority !== SCHED_PRIORITY.LOW)
      klvs.push([VF_CFG_KLV.SCHED_PRIORITY, config.schedPriority]);
    for (const threshold of Object.keys(VF_THRESHOLD) as VfThreshold[])
      if (this.#knows(threshold))
        klvs.push([VF_THRESHOLD[threshold].klv, config.thresholds.get(threshold) ?? 0]);
    return klvs;
  }
}

function ggttKlvs(start: number, size: number): ConfigKlv[] {
  return [
    [VF_CFG_KLV.GGTT_START, start],
    [VF_CFG_KLV.GGTT_SIZE, size],
  ];
}

function contextKlvs(begin: number, count: number): ConfigKlv[] {
  return [
    [VF_CFG_KLV.BEGIN_CONTEXT_ID, begin],
    [VF_CFG_KLV.NUM_CONTEXTS, count],
  ];
}

function doorbellKlvs(begin: number, count: number): ConfigKlv[] {
  return [
    [VF_CFG_KLV.BEGIN_DOORBELL_ID, begin],
    [VF_CFG_KLV.NUM_DOORBELLS, count],
  ];
}
