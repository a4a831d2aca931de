/** An emulated GPU with the PF driver on it, and its VFs behind the variant driver. */
import { availableParallelism } from 'node:os';
import { Fault } from '../base/fault.ts';
import type { CounterSnapshot } from '../gpu/counters.ts';
import type { VfDigests } from '../gpu/digests.ts';
import { EmulatedGpu } from '../gpu/emulated-gpu.ts';
import type { TurnSource } from '../gpu/engine/contracts.ts';
import type { PrecopyFind } from '../gpu/precopy/change-finder.ts';
import { CAPABILITY, type FirmwareVersion, type VfProfile } from '../migration/vf-profile.ts';
import type { RelayVersion } from '../pf/pf-service.ts';
import type { ProvisioningProfile } from '../pf/provisioning-profile.ts';
import { XePf } from '../pf/xe-pf.ts';
import { foreignEventFds } from '../sys/eventfd.ts';
import { VFIO_MIGRATION } from '../vfio/uapi.ts';
import { DirtyLog } from '../vfio-pci/dma-logger.ts';
import type { PlatformName } from '../xe/platforms.ts';
import { XeVfioPci } from '../xe-vfio-pci/xe-vfio-pci.ts';
import type { VfHost } from './vf-host.ts';

/** What an emulated host is to have; what is left out is the platform's default or a fair share. */
export interface EmulatedHostOptions extends ProvisioningProfile {
  readonly platform: PlatformName;
  /** VFs to enable, from 1. */
  readonly vfs: number;
  readonly deviceId?: number | undefined;
  readonly revisionId?: number | undefined;
  readonly gucVersion?: FirmwareVersion | undefined;
  /** Time slices of VFs 1, 2 and so on, ms, where they are not to be all alike; one for each VF. */
  readonly execQuantaMs?: readonly number[] | undefined;
  /** The same for their preemption timeouts, microseconds. */
  readonly preemptTimeoutsUs?: readonly number[] | undefined;
  /** Exactly Linux's migration flags: no pre-copy. */
  readonly linuxFlags?: boolean | undefined;
  /** Percent of a core that looking for changes may take while a VF is pre-copied; 25 unless given. */
  readonly precopyBudget?: number | undefined;
  /** How it looks; `auto` unless given. */
  readonly precopyFind?: PrecopyFind | undefined;
  /** Threads for it; as many as there are cores, at most 8, unless given; 0 for none of their own. */
  readonly precopyThreads?: number | undefined;
}

/** Percent of a core; a pass over 8 GiB then takes about two seconds. */
const DEFAULT_PRECOPY_BUDGET = 25;

/** More threads than that wait for memory. */
const MOST_THREADS = 8;

/** One emulated GPU with its PF driver. */
export class EmulatedHost implements VfHost {
  readonly gpu: EmulatedGpu;
  readonly pf: XePf;
  readonly vfs: number;

  readonly #linuxFlags: boolean;

  private constructor(gpu: EmulatedGpu, pf: XePf, vfs: number, linuxFlags: boolean) {
    this.#linuxFlags = linuxFlags;
    this.gpu = gpu;
    this.pf = pf;
    this.vfs = vfs;
  }

  /**
   * Makes the GPU and enables its VFs.
   *
   * @param turns where the engines get their turns from; the thread's event loop unless given
   * @param vmmPid the process that has the BARs of a VF mapped, undefined while it is not known
   * @throws {Fault} EINVAL for what the platform does not have and for a list that is not one of all
   * VFs, EPERM for VRAM on an integrated part,
   * ENOSPC when the quotas do not fit
   */
  static async create(
    options: EmulatedHostOptions,
    turns?: TurnSource,
    vmmPid?: (vfid: number) => number | undefined,
  ): Promise<EmulatedHost> {
    const { platform, vfs, deviceId, revisionId, gucVersion } = options;
    const precopy = {
      threads: options.precopyThreads ?? Math.min(availableParallelism(), MOST_THREADS),
      budgetPercent: options.precopyBudget ?? DEFAULT_PRECOPY_BUDGET,
      find: options.precopyFind,
      vmmPid,
    };
    const gpu = new EmulatedGpu({ platform, deviceId, revisionId, gucVersion, turns, precopy });
    try {
      if (options.vramSize !== undefined && !gpu.platform.discrete)
        throw new Fault('EPERM', `${gpu.platform.title} has no VRAM`, { hint: 'leave --vram out' });
      const pf = new XePf({ device: gpu.device });
      pf.enableVfs(vfs, options);
      eachVf(vfs, options.execQuantaMs, (vfid, ms) => pf.provisioning.setExecQuantum(vfid, ms));
      eachVf(vfs, options.preemptTimeoutsUs, (vfid, us) =>
        pf.provisioning.setPreemptTimeout(vfid, us),
      );
      return new EmulatedHost(gpu, pf, vfs, options.linuxFlags === true);
    } catch (error) {
      gpu.close();
      throw error;
    }
  }

  /** Opens a VF through the variant driver, which resets it. @throws {Fault} ENODEV */
  async open(vfid: number): Promise<XeVfioPci> {
    return await XeVfioPci.open({
      pciFunction: this.gpu.vf(vfid),
      pf: this.pf.sriovVfio,
      vfid,
      linuxFlags: this.#linuxFlags,
      eventFds: foreignEventFds,
      dmaLogger: new DirtyLog(),
    });
  }

  /** There is nothing to let go of: the VF is there for as long as its GPU. */
  async release(): Promise<void> {}

  /** What a VF is and has. @throws {Fault} EINVAL when it is not enabled */
  profile(vfid: number): VfProfile {
    const { ggttSize, vramSize, contexts, doorbells } = this.pf.vfConfig(vfid);
    const { deviceId, revisionId, hasMemirq, tiles } = this.gpu.device;
    const { major, minor, patch } = tiles[0]?.gts[0]?.guc.version ?? {
      major: 0,
      minor: 0,
      patch: 0,
    };
    const { sriovVfio } = this.pf;
    let flags = 0;
    if (sriovVfio.migrationSupported()) {
      flags = VFIO_MIGRATION.STOP_COPY | VFIO_MIGRATION.P2P;
      if (!this.#linuxFlags && sriovVfio.precopy.supported(vfid)) flags |= VFIO_MIGRATION.PRE_COPY;
    }
    return {
      platform: this.gpu.platform.name,
      deviceId,
      revisionId,
      ggttSize,
      vramSize,
      contexts,
      doorbells,
      gucVersion: { major, minor, patch },
      capabilities: flags | (hasMemirq ? CAPABILITY.MEMIRQ : 0),
    };
  }

  /** What the driver of a VF made it do so far. @throws {Fault} ENODEV */
  counters(vfid: number): CounterSnapshot {
    return this.gpu.counters(vfid).snapshot();
  }

  /** SHA-256 of each resource of a VF. @throws {Fault} ENODEV */
  digests(vfid: number): VfDigests {
    return this.gpu.digests(vfid);
  }

  /** Where the VF's part of the GGTT begins. @throws {Fault} EINVAL when it is not enabled */
  ggttStart(vfid: number): number {
    return this.pf.vfConfig(vfid).ggttStart;
  }

  /** See {@link EmulatedGpu.unready}. */
  unready(vfid: number): boolean {
    return this.gpu.unready(vfid);
  }

  /** What the VF's driver agreed on with the PF's, undefined before it did. */
  relayVersion(vfid: number): RelayVersion | undefined {
    return this.pf.service.version(vfid);
  }

  /** See {@link EmulatedGpu.resumeUnnoticed} and {@link PfService.carry}. */
  resumeUnnoticed(vfid: number, relayVersion: RelayVersion | undefined): void {
    this.pf.service.carry(vfid, relayVersion);
    this.gpu.resumeUnnoticed(vfid);
  }

  /** Lets go of everything. Idempotent. */
  close(): void {
    this.gpu.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Gives each VF its value. @throws {Fault} EINVAL when there is not one for each */
function eachVf(
  vfs: number,
  values: readonly number[] | undefined,
  give: (vfid: number, value: number) => void,
): void {
  if (values === undefined) return;
  if (values.length !== vfs)
    throw new Fault('EINVAL', `${values.length} values are not one for each of ${vfs} VFs`);
  for (const [n, value] of values.entries()) give(n + 1, value);
}
