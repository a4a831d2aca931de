/** A real GPU: the PF through its files, its VFs through /dev/vfio, both behind the variant driver. */

import { EventChannel } from '../base/event-channel.ts';
import { Fault } from '../base/fault.ts';
import { type Machine, machineAt } from '../linux/sysfs-machine.ts';
import { parseBdf, readPciDevice } from '../linux/sysfs-pci.ts';
import { type VfioFunctionEvent, VfioPciFunction } from '../linux/vfio-pci-function.ts';
import { LinuxXeSriovVfio } from '../linux/xe-sriov-vfio.ts';
import { CAPABILITY, type VfProfile } from '../migration/vf-profile.ts';
import { foreignEventFds } from '../sys/eventfd.ts';
import { VFIO_MIGRATION } from '../vfio/uapi.ts';
import { platformOfDevice } from '../xe/platforms.ts';
import { XeVfioPci } from '../xe-vfio-pci/xe-vfio-pci.ts';
import type { VfHost } from './vf-host.ts';

/** Which GPU. */
export interface LinuxHostOptions {
  /** Address of the PF, such as `0000:03:00.0`. */
  readonly pf: string;
  /** Where the machine's /sys, /dev and /run are; `/` unless given. */
  readonly root?: string | undefined;
}

/** What happens at a VF without anybody asking. */
export type LinuxHostEvent = VfioFunctionEvent & { readonly vfid: number };

/** A VF that is open. */
interface OpenVf {
  readonly pf: LinuxXeSriovVfio;
  readonly pciFunction: VfioPciFunction;
}

/** One PF of this machine. */
export class LinuxHost implements VfHost {
  readonly events = new EventChannel<LinuxHostEvent>();
  readonly #pf: string;
  readonly #machine: Machine;
  readonly #vfs = new Map<number, OpenVf>();

  constructor(options: LinuxHostOptions) {
    this.#pf = parseBdf(options.pf);
    this.#machine = machineAt(options.root);
  }

  /**
   * Opens a VF, which must be bound to vfio-pci already: nothing is taken over here.
   *
   * @throws {Fault} what {@link LinuxXeSriovVfio.open} and {@link VfioPciFunction.open} throw: ENODEV,
   * EBUSY, EPERM, EACCES ...
   */
  async open(vfid: number): Promise<XeVfioPci> {
    const { sysfs, debugfs, dev } = this.#machine;
    // First the PF's side: its lock keeps two servers from one VF, and its checks touch nothing.
    const pf = await LinuxXeSriovVfio.open({ pf: this.#pf, vf: vfid, sysfs, debugfs });
    let pciFunction: VfioPciFunction | undefined;
    try {
      const address = await addressOfVf(this.#machine, this.#pf, vfid);
      pciFunction = VfioPciFunction.open(address, { sysfs, dev });
      pciFunction.events.on((event) => this.events.emit({ ...event, vfid }));
      const device = await XeVfioPci.open({ pciFunction, pf, vfid, eventFds: foreignEventFds });
      this.#vfs.set(vfid, { pf, pciFunction });
      return device;
    } catch (error) {
      pciFunction?.close();
      await pf.close();
      throw error;
    }
  }

  async release(vfid: number): Promise<void> {
    const vf = this.#vfs.get(vfid);
    if (vf === undefined) return;
    this.#vfs.delete(vfid);
    vf.pciFunction.close();
    await vf.pf.close();
  }

  profile(vfid: number): VfProfile {
    const vf = this.#vfs.get(vfid);
    if (vf === undefined) throw new Fault('EINVAL', `VF${vfid} is not open`);
    const { pf } = vf;
    const flags = pf.migrationSupported() ? VFIO_MIGRATION.STOP_COPY | VFIO_MIGRATION.P2P : 0;
    const memirq = platformOfDevice(pf.profile.deviceId)?.hasMemirq === true;
    return { ...pf.profile, capabilities: flags | (memirq ? CAPABILITY.MEMIRQ : 0) };
  }

  counters(): never {
    throw new Fault('EOPNOTSUPP', 'what the guest does with a real VF is not seen here');
  }

  ggttStart(): undefined {
    return undefined;
  }

  /** Only firmware knows. */
  unready(): boolean {
    return false;
  }

  /** Only the kernel's PF driver knows. */
  relayVersion(): undefined {
    return undefined;
  }

  resumeUnnoticed(): never {
    throw new Fault('EOPNOTSUPP', 'the GuC of a real VF always tells its driver that it was moved');
  }

  digests(): never {
    throw new Fault('EOPNOTSUPP', 'what a real VF holds can be seen in its stream only');
  }

  async close(): Promise<void> {
    for (const vfid of [...this.#vfs.keys()]) await this.release(vfid);
  }
}

/**
 * The numbers of the VFs that a PF has enabled.
 * @throws {Fault} EINVAL for what is no address, ENODEV, EPERM when it is no PF
 */
export async function enabledVfs({ pf, root }: LinuxHostOptions): Promise<number[]> {
  const { sriov } = await readPciDevice(machineAt(root), parseBdf(pf));
  if (sriov === undefined) throw new Fault('EPERM', `${pf} is no PF`);
  return sriov.vfs.map((_, index) => index + 1);
}

async function addressOfVf(machine: Machine, pf: string, vfid: number): Promise<string> {
  const { sriov } = await readPciDevice(machine, pf);
  const address = sriov?.vfs[vfid - 1];
  if (address === undefined) throw new Fault('EINVAL', `VF${vfid} of ${pf} is not enabled`);
  return address;
}
