/** An emulated Intel GPU: one PF with up to 63 VFs. */
import { Fault } from '../base/fault.ts';
import type { GtPort, GucVersion, PfDevicePort, TilePort } from '../pf/ports.ts';
import { dupFd } from '../sys/descriptor.ts';
import { Memfd } from '../sys/memfd.ts';
import type { PciFunction } from '../vfio-pci/pci-function.ts';
import { VF_ABI_MIGRATION, type VfAbiVersion } from '../xe/guc/vf-actions.ts';
import { hwconfigTable } from '../xe/hwconfig.ts';
import {
  EMULATED_TOTAL_VFS,
  EMULATED_VRAM_RESERVED,
  type Platform,
  type PlatformGt,
  type PlatformName,
  platformByName,
  vramSizeOfDevice,
} from '../xe/platforms.ts';
import type { VfCounters } from './counters.ts';
import { type VfDigests, vfDigests } from './digests.ts';
import { contextLoader } from './engine/context-loader.ts';
import type { ContextLoader, TurnSource } from './engine/contracts.ts';
import { EngineTurns, eventLoopTurns } from './engine-turns.ts';
import { GpuFaults } from './faults.ts';
import { fuseRegisters } from './fuse-registers.ts';
import { type CarriedPtes, Ggtt } from './ggtt.ts';
import { ccsRuns } from './guc/ccs-section.ts';
import { Guc } from './guc/guc.ts';
import { GUC_BUFFER_CACHE_SIZE } from './guc/pf-buffers.ts';
import { hasBegun, isSettled } from './guc/vf-start.ts';
import { noFixup } from './guc/vf-state.ts';
import type { PrecopyOptions } from './precopy/change-finder.ts';
import { VfFunction } from './vf-function.ts';
import { LMTT_PAGE_SIZE, Vram } from './vram.ts';

/** Firmware that an emulated GuC claims to be: 70.54 or newer can migrate VFs. */
const DEFAULT_GUC_VERSION: GucVersion = { major: 70, minor: 58, patch: 0 };

/** What an emulated GPU is to be. */
export interface EmulatedGpuOptions {
  readonly platform: PlatformName;
  /** One of the platform's device ids; its default unless given. */
  readonly deviceId?: number | undefined;
  readonly revisionId?: number | undefined;
  /** 1 to 63; 63 unless given. */
  readonly totalVfs?: number | undefined;
  /** 70.58.0 unless given; below 70.54 the PF cannot migrate VFs. */
  readonly gucVersion?: GucVersion | undefined;
  /** Version of the interface between GuC and VFs; 1.27.0 unless given. */
  readonly vfAbiVersion?: VfAbiVersion | undefined;
  /** Bytes of VRAM of a discrete device that may be given away; what its id has unless given. */
  readonly vramSize?: number | undefined;
  /** How changes of VRAM are found, so that VFs can be saved running; without it they cannot. */
  readonly precopy?: PrecopyOptions | undefined;
  /** Runs a task soon, never before its caller returned; `queueMicrotask` unless given. */
  readonly schedule?: ((task: () => void) => void) | undefined;
  /** Where the engines get their turns from; the event loop of this thread unless given. */
  readonly turns?: TurnSource | undefined;
  /** What puts contexts on engines; the command streamer unless given. */
  readonly loader?: ContextLoader | undefined;
  /** The engines' clock, milliseconds with fractions; the machine's monotonic one unless given. */
  readonly now?: (() => number) | undefined;
}

/** Memory of a VF that a VMM may have mapped. */
export interface VfBarMemory {
  readonly ggtt: CarriedPtes;
  /** VRAM from its first byte; undefined on integrated parts. */
  readonly vram: Memfd | undefined;
}

/** An emulated GPU. Its VFs come to life when the PF's driver provisions them. */
export class EmulatedGpu {
  readonly platform: Platform;
  /** The PF, for its driver. */
  readonly device: PfDevicePort;
  /** Faults for tests. */
  readonly faults = new GpuFaults();
  readonly #ggtt: Ggtt;
  readonly #vram: Vram | undefined;
  readonly #gucs: readonly Guc[];
  readonly #functions = new Map<number, VfFunction>();
  readonly #turns: EngineTurns;
  readonly #fuses: ReadonlyMap<number, number>;

  /** @throws {Fault} EINVAL for an unknown platform, device id or an impossible number of VFs */
  constructor(options: EmulatedGpuOptions) {
    this.platform = platformByName(options.platform);
    const { platform } = this;
    const deviceId = options.deviceId ?? platform.defaultDeviceId;
    if (!platform.deviceIds.includes(deviceId))
      throw new Fault('EINVAL', `0x${deviceId.toString(16)} is no ${platform.title} device`);
    const totalVfs = options.totalVfs ?? EMULATED_TOTAL_VFS;
    if (!Number.isSafeInteger(totalVfs) || totalVfs < 1 || totalVfs > EMULATED_TOTAL_VFS)
      throw new Fault('EINVAL', `${totalVfs} VFs are not 1 to ${EMULATED_TOTAL_VFS}`);
    this.#ggtt = new Ggtt(platform.wopcmSize);
    this.#vram = platform.discrete
      ? new Vram(usableVram(platform, deviceId, options), options.precopy)
      : undefined;
    this.#fuses = fuseRegisters(platform);
    const now = options.now ?? (() => performance.now());
    this.#turns = new EngineTurns(options.turns ?? eventLoopTurns, () => this.#gucs, now);
    this.#gucs = platform.gts.map((gt) => this.#makeGuc(gt, totalVfs, options, now));
    this.device = {
      deviceId,
      revisionId: options.revisionId ?? platform.defaultRevisionId,
      graphicsVerx100: (platform.gts[0] as PlatformGt).verx100,
      hasMemirq: platform.hasMemirq,
      totalVfs,
      tiles: [this.#tile()],
    };
  }

  /**
   * A VF as a PCI function, the same object each time.
   * @throws {Fault} ENODEV when `vfid` is not 1 to the number of VFs that the device can have
   */
  vf(vfid: number): PciFunction {
    return this.#function(vfid);
  }

  /** What the driver of a VF made it do. @throws {Fault} ENODEV */
  counters(vfid: number): VfCounters {
    return this.#function(vfid).counters;
  }

  /** First address of a VF's part of the GGTT, 0 when it has none. @throws {Fault} ENODEV */
  ggttStart(vfid: number): number {
    this.#check(vfid);
    return this.#ggtt.window(vfid)?.start ?? 0;
  }

  /**
   * What of a stopped VF's memory a VMM may have mapped, for the VF that takes its place. The
   * descriptors are duplicates, the caller's to close.
   * @throws {Fault} ENODEV; EINVAL for a VF that is not provisioned; EMFILE
   */
  barMemory(vfid: number): VfBarMemory {
    this.#check(vfid);
    const window = this.#ggtt.window(vfid);
    if (window === undefined) throw new Fault('EINVAL', `VF${vfid} has no GGTT`);
    const { memory, ...ptes } = window.carried();
    const vram = this.#vram?.object(vfid);
    return {
      ggtt: { ...ptes, memfd: new Memfd(dupFd(memory.fd)) },
      vram: vram === undefined ? undefined : new Memfd(dupFd(vram.memory.fd)),
    };
  }

  /**
   * Puts the memory of another VF, which a VMM may have mapped, in place of a loaded VF's own.
   * What was loaded into VRAM gives way to it: the VMM's processors went on writing there.
   * @returns lets go of the VF's own memory, which may take long
   * @throws {Fault} ENODEV; EINVAL when it does not fit; the memfds are closed then
   */
  adoptBarMemory(vfid: number, { ggtt, vram }: VfBarMemory): () => void {
    this.#check(vfid);
    const window = this.#ggtt.window(vfid);
    const own = this.#vram?.object(vfid);
    const fits = window !== undefined && (vram === undefined) === (own === undefined);
    if (!fits || (vram !== undefined && vram.size !== own?.size)) {
      ggtt.memfd.close();
      vram?.close();
      throw new Fault('EINVAL', `VF${vfid} has not what the other VF has`);
    }
    window.carry(ggtt);
    const discard = vram === undefined ? undefined : this.#vram?.adopt(vfid, vram);
    this.#function(vfid).invalidateTlbs();
    return discard ?? (() => {});
  }

  /**
   * Has the system find memory for a range of a VF's VRAM now; beyond its end for nothing.
   * @returns true when there is more behind the range
   * @throws {Fault} ENODEV
   */
  populateVram(vfid: number, offset: number, length: number): boolean {
    this.#check(vfid);
    const vram = this.#vram?.object(vfid);
    if (vram === undefined || offset >= vram.size) return false;
    vram.memory.populate(offset, Math.min(length, vram.size - offset));
    return offset + length < vram.size;
  }

  /** Lets go of a stopped VF's memory that another VF has taken over. @throws {Fault} ENODEV */
  abandonBarMemory(vfid: number): void {
    this.#check(vfid);
    this.#ggtt.window(vfid)?.abandon();
    this.#vram?.abandon(vfid);
    this.#function(vfid).invalidateTlbs();
  }

  /**
   * True while a VF's driver is between its first words to a GuC and the end of its start, starts a
   * GuC again after a reset of its GT, or is about to leave: it could not recover from a move
   * (see guc/vf-start.ts).
   * @throws {Fault} ENODEV
   */
  unready(vfid: number): boolean {
    this.#check(vfid);
    const sessions = this.#gucs.map((guc) => guc.session(vfid));
    return sessions.some(hasBegun) && !sessions.every(isSettled);
  }

  /** SHA-256 of each resource of a VF. @throws {Fault} ENODEV */
  digests(vfid: number): VfDigests {
    this.#check(vfid);
    return vfDigests(vfid, {
      ggtt: this.#ggtt.window(vfid),
      vram: this.#vram?.object(vfid),
      gucs: this.#gucs,
      ccs: ccsRuns(this.#function(vfid).flatCcs),
    });
  }

  /**
   * Lets a paused VF whose state was restored go on without a word to its driver: every GGTT address
   * that it knows must be right here too. It has nothing to recover, or goes on with the recovery that
   * it was in when its state was saved.
   *
   * @throws {Fault} ENODEV; EINVAL when it is not paused
   */
  resumeUnnoticed(vfid: number): void {
    this.#check(vfid);
    const vfs = this.#gucs.map((guc) => guc.vf(vfid));
    for (const { execution } of vfs)
      if (execution !== 'paused')
        throw new Fault('EINVAL', `VF${vfid} is ${execution}, not paused`);
    for (const { fixup, existingRuntime } of vfs)
      Object.assign(fixup, existingRuntime?.savedFixup ?? noFixup());
  }

  /** Lets go of all memory. Idempotent. */
  close(): void {
    this.#turns.close();
    for (const vf of this.#functions.values()) vf.close();
    this.#functions.clear();
    this.#ggtt.close();
    this.#vram?.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #makeGuc(gt: PlatformGt, totalVfs: number, options: EmulatedGpuOptions, now: () => number): Guc {
    return new Guc(
      {
        gt,
        discrete: this.platform.discrete,
        version: options.gucVersion ?? DEFAULT_GUC_VERSION,
        abi: options.vfAbiVersion ?? VF_ABI_MIGRATION,
        hwconfig: gt.type === 'main' ? hwconfigTable(this.platform) : undefined,
      },
      {
        totalVfs,
        bufferBase: this.#ggtt.end + gt.id * GUC_BUFFER_CACHE_SIZE,
        faults: this.faults,
        schedule: options.schedule ?? queueMicrotask,
        host: (vfid) => this.#function(vfid),
        loader: options.loader ?? contextLoader,
        now,
        wake: () => this.#turns.wake(),
      },
    );
  }

  #tile(): TilePort {
    return {
      id: 0,
      ggtt: this.#ggtt,
      vram: this.#vram,
      gts: this.#gucs.map((guc) => gtPort(guc, this.#fuses)),
    };
  }

  #check(vfid: number): void {
    const { totalVfs } = this.device;
    if (!Number.isSafeInteger(vfid) || vfid < 1 || vfid > totalVfs)
      throw new Fault('ENODEV', `there is no VF ${vfid}, only 1 to ${totalVfs}`);
  }

  #function(vfid: number): VfFunction {
    this.#check(vfid);
    let vf = this.#functions.get(vfid);
    if (vf === undefined) {
      vf = new VfFunction(vfid, {
        platform: this.platform,
        deviceId: this.device.deviceId,
        revisionId: this.device.revisionId,
        ggtt: this.#ggtt,
        vram: this.#vram,
        mainGuc: this.#gucs[0] as Guc,
        mediaGuc: this.#gucs[1],
      });
      this.#functions.set(vfid, vf);
    }
    return vf;
  }
}

function usableVram(platform: Platform, deviceId: number, options: EmulatedGpuOptions): number {
  const size = options.vramSize ?? vramSizeOfDevice(platform, deviceId) - EMULATED_VRAM_RESERVED;
  if (!Number.isSafeInteger(size) || size <= 0 || size % LMTT_PAGE_SIZE !== 0)
    throw new Fault('EINVAL', `${size} bytes of VRAM are not a multiple of 2 MiB`);
  return size;
}

function gtPort(guc: Guc, fuses: ReadonlyMap<number, number>): GtPort {
  const { id, tileId, type } = guc.identity.gt;
  return {
    id,
    tileId,
    type,
    guc,
    readVfFlag: (vfid, n) => guc.readFlag(vfid, n),
    writeVfFlag: (vfid, n, value) => guc.writeFlag(vfid, n, value),
    readRegister: (offset) => fuses.get(offset) ?? 0,
  };
}
