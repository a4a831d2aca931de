/**
 * Enabling the VFs of an xe PF and giving them their shares, through `sriov_numvfs` and
 * `sriov_admin`.
 *
 * VRAM is given before VFs are enabled, as the kernel asks for; the PF then shares out the rest.
 * Scheduling may be changed at any time. Written through sysfs, neither ends automatic provisioning
 * (debugfs would).
 *
 * Source: Documentation/ABI/testing/sysfs-driver-intel-xe-sriov; drivers/pci/iov.c
 * (sriov_numvfs_store); drivers/gpu/drm/xe/xe_pci_sriov.c, xe_sriov_pf_sysfs.c,
 * xe_sriov_pf_provision.c.
 */
import { Fault } from '../base/fault.ts';
import { formatSize } from '../base/size.ts';
import { VFIO_DRIVER, vfioHolders } from './sysfs-bind.ts';
import { holdersText } from './sysfs-holders.ts';
import type { Machine } from './sysfs-machine.ts';
import { type PciDevice, type PciSriov, pciDirectory, readPciDevice } from './sysfs-pci.ts';
import { tryNumber, tryText } from './sysfs-read.ts';
import type { SysfsStep } from './sysfs-steps.ts';

/** A priority that the VFs of a PF can have. */
export type SchedPriority = 'low' | 'normal';

/** What a PF's VFs are to be; what is left out stays, or is the PF's fair share. */
export interface ProvisionRequest {
  readonly pf: string;
  /** VFs to be enabled; 0 disables all; as many as are now unless given. */
  readonly vfs?: number | undefined;
  /** Changes only this VF, from 1; all of them unless given. */
  readonly vf?: number | undefined;
  /** Bytes of VRAM of each VF. */
  readonly vram?: number | undefined;
  readonly execQuantumMs?: number | undefined;
  readonly preemptTimeoutUs?: number | undefined;
  readonly priority?: SchedPriority | undefined;
  /** Lets the host's drivers bind VFs as they appear; they stay free unless given. */
  readonly autoprobe?: boolean | undefined;
}

/** A change of a PF's VFs, not yet made. */
export interface ProvisionPlan {
  readonly pf: PciDevice;
  readonly steps: readonly SysfsStep[];
  /** VFs that are enabled afterwards. */
  readonly vfs: number;
}

/** What refusals of `sriov_numvfs` mean. */
const NUMVFS_MEANINGS = {
  EBUSY: 'VFs are enabled already, or VF enabling is locked by another process, or the GPU resets',
  ERANGE: 'more than the device has',
  ENOENT: 'no driver is bound that can enable VFs',
  ENOSPC: 'the shares of so many VFs do not fit',
  ENOMEM: 'no PCI bus numbers or memory for so many VFs; see the kernel log',
  ECANCELED: 'the GPU is wedged',
};
const VALUE_MEANINGS = {
  EINVAL: 'not a value that the driver takes',
  EPERM: 'this hardware or firmware does not allow it',
  EIO: 'firmware refuses it',
  ENOSPC: 'there is not so much',
  EOPNOTSUPP: 'the driver does not allow it',
};

/**
 * Plans to enable, disable or change VFs.
 *
 * @throws {Fault} ENODEV when there is no such device or xe does not drive it; EPERM when it is no
 * PF; ERANGE above what it has; EINVAL for what makes no sense; EBUSY when other VFs are enabled, or
 * those that would go are in use; EOPNOTSUPP for a kernel without sriov_admin
 */
export async function planProvision(
  machine: Machine,
  request: ProvisionRequest,
): Promise<ProvisionPlan> {
  const pf = await readPciDevice(machine, request.pf);
  const sriov = checkPf(pf);
  const vfs = request.vfs ?? sriov.numVfs;
  if (vfs > sriov.totalVfs)
    throw new Fault('ERANGE', `${pf.bdf} can have ${sriov.totalVfs} VFs, not ${vfs}`);
  if (request.vf !== undefined && (request.vf < 1 || request.vf > vfs))
    throw new Fault('EINVAL', `VF${request.vf} is not among the ${vfs} VFs`);
  if (vfs === 0) return { pf, steps: await disableSteps(machine, pf, sriov, request), vfs };
  const enable = sriov.numVfs === 0;
  if (!enable && sriov.numVfs !== vfs)
    throw new Fault('EBUSY', `${sriov.numVfs} VFs of ${pf.bdf} are enabled already`, {
      hint: `xe-vfio provision ${pf.bdf} --vfs 0 disables them; their state is lost`,
    });
  if (!enable && request.vram !== undefined) await checkUnused(machine, sriov, request.vf);
  const steps = [
    ...(enable ? autoprobeSteps(machine, pf, sriov, request.autoprobe ?? false) : []),
    ...(await profileSteps(machine, pf, vfs, request)),
    ...(enable ? [numVfsStep(machine, pf, vfs)] : []),
  ];
  return { pf, steps, vfs };
}

function checkPf(pf: PciDevice): PciSriov {
  if (pf.driver !== 'xe')
    throw new Fault('ENODEV', `${pf.bdf} is bound to ${pf.driver ?? 'no driver'}, not to xe`);
  if (pf.sriov === undefined)
    throw new Fault('EPERM', `${pf.bdf} is no PF`, {
      hint: 'SR-IOV is turned on in firmware, and needs xe with CONFIG_PCI_IOV',
    });
  return pf.sriov;
}

function autoprobeSteps(
  machine: Machine,
  { bdf }: PciDevice,
  sriov: PciSriov,
  wanted: boolean,
): SysfsStep[] {
  if (sriov.autoprobe === wanted) return [];
  const path = `${pciDirectory(machine, bdf)}/sriov_drivers_autoprobe`;
  return [{ path, value: bit(wanted), undo: [{ path, value: bit(sriov.autoprobe) }] }];
}

function numVfsStep(machine: Machine, { bdf }: PciDevice, vfs: number): SysfsStep {
  const at = pciDirectory(machine, bdf);
  const path = `${at}/sriov_numvfs`;
  return {
    path,
    value: String(vfs),
    undo: [{ path, value: '0' }],
    meanings: NUMVFS_MEANINGS,
    verify: async () => {
      const { sriov } = await readPciDevice(machine, bdf);
      if (sriov?.numVfs !== vfs || sriov.vfs.length !== vfs)
        throw new Fault('EIO', `${sriov?.vfs.length ?? 0} VFs appeared, not ${vfs}`);
      await checkShares(machine, bdf, vfs);
    },
  };
}

/** In custom mode, which debugfs writes enter, VFs get nothing by themselves. */
async function checkShares(machine: Machine, bdf: string, vfs: number): Promise<void> {
  for (let vfid = 1; vfid <= vfs; vfid++) {
    const quota = await tryNumber(`${machine.debugfs}/dri/${bdf}/sriov/vf${vfid}/tile0/ggtt_quota`);
    if (quota !== 0) continue;
    const auto = `${machine.debugfs}/dri/${bdf}/sriov/restore_auto_provisioning`;
    throw new Fault('ENODATA', `VF${vfid} got no GGTT: provisioning by hand is in force`, {
      hint: `echo 1 > ${auto} goes back to automatic provisioning and drops what was set by hand`,
    });
  }
}

async function disableSteps(
  machine: Machine,
  pf: PciDevice,
  sriov: PciSriov,
  request: ProvisionRequest,
): Promise<SysfsStep[]> {
  const { vram, execQuantumMs, preemptTimeoutUs, priority } = request;
  if ([vram, execQuantumMs, preemptTimeoutUs, priority].some((value) => value !== undefined))
    throw new Fault('EINVAL', 'no VF is enabled that could get a share', { hint: 'give --vfs N' });
  if (sriov.numVfs === 0) return [];
  await checkUnused(machine, sriov, undefined);
  const path = `${pciDirectory(machine, pf.bdf)}/sriov_numvfs`;
  return [
    {
      path,
      value: '0',
      undo: [],
      meanings: NUMVFS_MEANINGS,
      verify: async () => {
        const left = (await readPciDevice(machine, pf.bdf)).sriov?.numVfs;
        if (left !== 0) throw new Fault('EIO', `${left} VFs are still enabled`);
      },
    },
  ];
}

/** @throws {Fault} EBUSY when a process or a driver of the host uses one of the VFs */
async function checkUnused(
  machine: Machine,
  sriov: PciSriov,
  only: number | undefined,
): Promise<void> {
  for (const [at, bdf] of sriov.vfs.entries()) {
    if (only !== undefined && at + 1 !== only) continue;
    const device = await readPciDevice(machine, bdf);
    const holders = await vfioHolders(machine, device);
    if (holders.length > 0)
      throw new Fault('EBUSY', `VF${at + 1} (${bdf}) is in use by ${holdersText(holders)}`, {
        hint: 'end that process first',
      });
    if (device.driver !== undefined && device.driver !== VFIO_DRIVER)
      throw new Fault('EBUSY', `VF${at + 1} (${bdf}) is driven by ${device.driver} of this host`, {
        hint: `echo ${bdf} > ${machine.sysfs}/bus/pci/drivers/${device.driver}/unbind`,
      });
  }
}

/** The writes to `sriov_admin`; what reads as it should is not written. */
async function profileSteps(
  machine: Machine,
  { bdf }: PciDevice,
  vfs: number,
  request: ProvisionRequest,
): Promise<SysfsStep[]> {
  const admin = `${pciDirectory(machine, bdf)}/sriov_admin`;
  const vfids = request.vf === undefined ? range(vfs) : [request.vf];
  const steps: SysfsStep[] = [];
  const values = [
    ['vram_quota', request.vram],
    ['exec_quantum_ms', request.execQuantumMs],
    ['preempt_timeout_us', request.preemptTimeoutUs],
  ] as const;
  for (const [file, value] of values) {
    if (value === undefined) continue;
    for (const vfid of vfids) {
      const path = `${admin}/vf${vfid}/profile/${file}`;
      const before = await tryNumber(path);
      if (before === undefined) throw missing(path, file);
      if (before !== value) steps.push(valueStep(path, value, before, file));
    }
  }
  if (request.priority !== undefined) steps.push(...(await prioritySteps(admin, request)));
  return steps;
}

function valueStep(path: string, value: number, before: number, file: string): SysfsStep {
  return {
    path,
    value: String(value),
    undo: [{ path, value: String(before) }],
    meanings: VALUE_MEANINGS,
    verify: async () => {
      const now = await tryNumber(path);
      // Memory is rounded up to what the hardware can map.
      const fits = file === 'vram_quota' ? now !== undefined && now >= value : now === value;
      if (fits) return;
      const shown = file === 'vram_quota' ? formatSize(now ?? 0) : now;
      throw new Fault('EIO', `${path} reads ${shown} after ${value} was written`);
    },
  };
}

/** Firmware gives all VFs one priority, and the PF with them; the PF's own is put back after it. */
async function prioritySteps(admin: string, request: ProvisionRequest): Promise<SysfsStep[]> {
  const { priority = 'low', vf } = request;
  if (vf !== undefined)
    throw new Fault('EOPNOTSUPP', 'the VFs of a PF have one priority together', {
      hint: 'leave --vf out',
    });
  const bulk = `${admin}/.bulk_profile/sched_priority`;
  const own = `${admin}/pf/profile/sched_priority`;
  const vf1 = `${admin}/vf1/profile/sched_priority`;
  const [before, ownBefore] = [await choice(vf1), await choice(own)];
  if (before === undefined || ownBefore === undefined) throw missing(vf1, 'sched_priority');
  if (before === priority) return [];
  const back = { path: own, value: ownBefore };
  return [
    {
      path: bulk,
      value: priority,
      undo: [{ path: bulk, value: before }, back],
      meanings: VALUE_MEANINGS,
      verify: async () => {
        const now = await choice(vf1);
        if (now !== priority) throw new Fault('EIO', `${vf1} reads ${now} after ${priority}`);
      },
    },
    { ...back, undo: [], meanings: VALUE_MEANINGS },
  ];
}

/** The word in brackets, of a file that reads `[low] normal high`. */
async function choice(path: string): Promise<string | undefined> {
  return /\[(\w+)\]/.exec((await tryText(path)) ?? '')?.[1];
}

function missing(path: string, file: string): Fault {
  if (file === 'vram_quota')
    return new Fault('EOPNOTSUPP', `${path} is not there: integrated, or Linux older than 7.0`, {
      hint: 'leave --vram out',
    });
  return new Fault('EOPNOTSUPP', `${path} is not there: this kernel has no sriov_admin`, {
    hint: 'run Linux 6.19 or newer',
  });
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n + 1);
}

function bit(on: boolean): string {
  return on ? '1' : '0';
}
