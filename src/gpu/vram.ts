/**
 * VRAM of a discrete tile: one memory object a VF, translated by hardware so that each VF sees its
 * own from address 0.
 *
 * Source: drivers/gpu/drm/xe/xe_lmtt.c (2 MiB pages), xe_gt_sriov_pf_config.c.
 */
import { Fault } from '../base/fault.ts';
import { formatSize } from '../base/size.ts';
import type { VramObject, VramPort } from '../pf/ports.ts';
import { DeviceMemory } from './device-memory.ts';

/** Bytes of a page of the local memory translation table. */
export const LMTT_PAGE_SIZE = 2 * 2 ** 20;

/** The VRAM of one VF. */
export class VfVram implements VramObject {
  readonly memory: DeviceMemory;

  constructor(vfid: number, size: number) {
    this.memory = new DeviceMemory(`xe-vram-vf${vfid}`, size);
  }

  get size(): number {
    return this.memory.size;
  }

  view(offset: number, length: number): Uint8Array {
    return this.memory.view(offset, length);
  }

  clear(): void {
    this.memory.clear();
  }
}

/** The VRAM of one tile. */
export class Vram implements VramPort {
  readonly usable: number;
  readonly #objects = new Map<number, VfVram>();
  #used = 0;

  /** @param usable bytes that can be given away */
  constructor(usable: number) {
    this.usable = usable;
  }

  /** What `vfid` owns, if anything. */
  object(vfid: number): VfVram | undefined {
    return this.#objects.get(vfid);
  }

  assign(vfid: number, size: number): VramObject {
    if (size % LMTT_PAGE_SIZE !== 0 || size <= 0)
      throw new RangeError(`VRAM size ${size} is not a multiple of 2 MiB`);
    this.release(vfid);
    const free = this.usable - this.#used;
    if (size > free)
      throw new Fault('ENOSPC', `${formatSize(size)} of VRAM wanted, ${formatSize(free)} free`);
    const object = new VfVram(vfid, size);
    this.#objects.set(vfid, object);
    this.#used += size;
    return object;
  }

  release(vfid: number): void {
    const object = this.#objects.get(vfid);
    if (object === undefined) return;
    object.memory.close();
    this.#objects.delete(vfid);
    this.#used -= object.size;
  }

  /** Lets go of every object. Idempotent. */
  close(): void {
    for (const vfid of [...this.#objects.keys()]) this.release(vfid);
  }
}
