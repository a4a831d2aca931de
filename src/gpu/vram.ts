/**
 * VRAM of a discrete tile: one memory object a VF, translated by hardware so that each VF sees its
 * own from address 0.
 *
 * Source: drivers/gpu/drm/xe/xe_lmtt.c (2 MiB pages), xe_gt_sriov_pf_config.c.
 */
import { Fault } from '../base/fault.ts';
import { dataView } from '../base/int.ts';
import { formatSize } from '../base/size.ts';
import type { VramObject, VramPort } from '../pf/ports.ts';
import { hasDigest } from '../sys/block-digest.ts';
import type { Memfd } from '../sys/memfd.ts';
import { DeviceMemory } from './device-memory.ts';
import type { PrecopyOptions } from './precopy/change-finder.ts';
import { VramTracker } from './precopy/vram-tracker.ts';

/** Bytes of a page of the local memory translation table. */
export const LMTT_PAGE_SIZE = 2 * 2 ** 20;

/** Bytes of the pieces in which the device keeps a VF's VRAM at hand. */
const VRAM_WINDOW_SIZE = 2 ** 30;

/** The VRAM of one VF. */
export class VfVram implements VramObject {
  readonly memory: DeviceMemory;

  readonly #vfid: number;
  readonly #precopy: PrecopyOptions | undefined;
  #tracker: VramTracker | undefined;

  /** @param precopy how changes are found; without it they cannot be tracked */
  constructor(vfid: number, size: number, precopy?: PrecopyOptions) {
    this.memory = new DeviceMemory(`xe-vram-vf${vfid}`, size);
    this.#vfid = vfid;
    this.#precopy = precopy;
  }

  readonly #windows: Uint8Array[] = [];
  readonly #views: DataView[] = [];

  get size(): number {
    return this.memory.size;
  }

  /** The piece of at most {@link VRAM_WINDOW_SIZE} bytes that `offset` is in, always the same. */
  window(offset: number): Uint8Array {
    const index = Math.floor(offset / VRAM_WINDOW_SIZE);
    return this.#windows[index] ?? this.#makeWindow(index);
  }

  /** The same piece for numbers. */
  windowView(offset: number): DataView {
    const index = Math.floor(offset / VRAM_WINDOW_SIZE);
    if (this.#windows[index] === undefined) this.#makeWindow(index);
    return this.#views[index] as DataView;
  }

  /** Where in its piece `offset` is. */
  offsetInWindow(offset: number): number {
    return offset % VRAM_WINDOW_SIZE;
  }

  view(offset: number, length: number): Uint8Array {
    return this.memory.view(offset, length);
  }

  clear(): void {
    this.memory.clear();
  }

  clearRange(offset: number, length: number): void {
    this.memory.clearRange(offset, length);
  }

  /** The device has written, or is about to. */
  wrote(offset: number, length: number): void {
    this.#tracker?.wrote(offset, length);
  }

  get trackable(): boolean {
    return this.#precopy !== undefined && hasDigest();
  }

  track(): VramTracker | undefined {
    if (this.#precopy === undefined) return undefined;
    this.#tracker?.close();
    const tracker = VramTracker.create(this.memory, this.#precopy, this.#vfid, () => {
      if (this.#tracker === tracker) this.#tracker = undefined;
    });
    this.#tracker = tracker;
    return tracker;
  }

  /** Lets go of the memory. Idempotent. */
  close(): void {
    this.#tracker?.close();
    this.memory.close();
  }

  /**
   * Takes `memfd` in place of its memory.
   * @returns lets go of what was there
   * @throws {Fault} EINVAL when it has another size
   */
  adopt(memfd: Memfd): () => void {
    const discard = this.memory.adopt(memfd);
    // It watches memory that is no longer this VF's.
    this.#tracker?.close();
    this.#windows.length = 0;
    this.#views.length = 0;
    return discard;
  }

  /** Lets go of memory that another VF has taken over: it is zeroed memory again. */
  abandon(): void {
    this.#tracker?.close();
    this.memory.abandon();
    this.#windows.length = 0;
    this.#views.length = 0;
  }

  #makeWindow(index: number): Uint8Array {
    const start = index * VRAM_WINDOW_SIZE;
    const window = this.memory.view(start, Math.min(VRAM_WINDOW_SIZE, this.size - start));
    this.#windows[index] = window;
    this.#views[index] = dataView(window);
    return window;
  }
}

/** The VRAM of one tile. */
export class Vram implements VramPort {
  readonly usable: number;
  readonly #objects = new Map<number, VfVram>();
  #used = 0;
  #version = 0;

  readonly #precopy: PrecopyOptions | undefined;

  /**
   * @param usable bytes that can be given away
   * @param precopy how changes are found; without it they cannot be tracked
   */
  constructor(usable: number, precopy?: PrecopyOptions) {
    this.usable = usable;
    this.#precopy = precopy;
  }

  /** Changes whenever what a VF owns does. */
  get version(): number {
    return this.#version;
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
    const object = new VfVram(vfid, size, this.#precopy);
    this.#objects.set(vfid, object);
    this.#version++;
    this.#used += size;
    return object;
  }

  release(vfid: number): void {
    const object = this.#objects.get(vfid);
    if (object === undefined) return;
    object.close();
    this.#objects.delete(vfid);
    this.#version++;
    this.#used -= object.size;
  }

  /**
   * Gives `vfid` other memory for what it owns.
   * @returns lets go of what was there
   * @throws {Fault} EINVAL when it has another size, or `vfid` owns nothing
   */
  adopt(vfid: number, memfd: Memfd): () => void {
    const object = this.#objects.get(vfid);
    if (object === undefined) throw new Fault('EINVAL', `VF${vfid} has no VRAM`);
    const discard = object.adopt(memfd);
    this.#version++;
    return discard;
  }

  /** Lets go of the memory of `vfid` that another VF has taken over. */
  abandon(vfid: number): void {
    this.#objects.get(vfid)?.abandon();
    this.#version++;
  }

  /** Lets go of every object. Idempotent. */
  close(): void {
    for (const vfid of [...this.#objects.keys()]) this.release(vfid);
  }
}
