/**
 * A record of what a real machine shows, for users to send: which files there are, what they say,
 * and, when a VF was named, how long a pause, a save and a resume of it take.
 *
 * Only files from a list are read, none of them with names, addresses or keys of the machine in
 * it, and of the state of a VF only the headers of its packets are kept.
 */
import { lstat, readFile, readlink } from 'node:fs/promises';
import { toFault } from '../base/fault.ts';
import { packetTypeName } from '../xe/migration-packet.ts';
import { deviceDirectory } from './debugfs-xe.ts';
import type { Machine } from './sysfs-machine.ts';
import { pciDirectory } from './sysfs-pci.ts';
import { namesIn, tryText } from './sysfs-read.ts';
import { PacketBounds } from './xe-packet-bounds.ts';
import { LinuxXeSriovVfio } from './xe-sriov-vfio.ts';

/** The most that is kept of one file, bytes. */
const KEPT = 64 * 1024;
/** The deepest directory that is looked into, and the most entries of one record. */
const DEPTH = 6;
const ENTRIES = 20_000;
const PIECE = 4 * 2 ** 20;

/** Files whose content is kept, by their path below the device's directory. */
const CONTENT = [
  /^(name|info|gt\d+\/uc\/guc_info)$/,
  /^sriov\/pf\/(vfs|versions)$/,
  /^sriov\/(pf|vf\d+)\/tile\d+\/(ggtt|vram)_(quota|spare|available|provisioned)$/,
  /^sriov\/(pf|vf\d+)\/tile\d+\/gt\d+\/(contexts|doorbells)_(quota|spare|provisioned)$/,
  /^sriov\/(pf|vf\d+)\/tile\d+\/gt\d+\/(exec_quantum_ms|preempt_timeout_us|sched_priority|control)$/,
  /^sriov\/vf\d+\/migration_size$/,
  /^sriov_(totalvfs|numvfs|offset|stride|vf_device|drivers_autoprobe|vf_total_msix)$/,
  /^(vendor|device|revision|class|driver_override|numa_node)$/,
  /^sriov_admin\/(pf|vf\d+)\/profile\/\w+$/,
];
/** Directories of a PCI device that are about something else. */
const SKIPPED = new Set([
  'power',
  'drm',
  'firmware_node',
  'subsystem',
  'i2c-0',
  'hwmon',
  'msi_irqs',
]);

/** One file, directory or link. */
export interface RecordedFile {
  readonly path: string;
  /** As `ls` shows it, octal: `0100644`. */
  readonly mode: string;
  readonly link?: string;
  readonly text?: string;
  /** Why it could not be read. */
  readonly errno?: string;
}

/** The packets of a saved state, without what is in them. */
export interface RecordedPacket {
  readonly type: string;
  readonly tile: number;
  readonly gt: number;
  readonly flags: number;
  readonly offset: number;
  readonly size: number;
}

/** One step of a cycle on a VF. */
export interface RecordedStep {
  readonly step: string;
  readonly ms: number;
  readonly bytes?: number;
  readonly errno?: string;
  readonly reason?: string;
}

/** A cycle of pause, save and resume on a VF that the user named. */
export interface RecordedCycle {
  readonly vfid: number;
  readonly supported: string;
  readonly size: number | undefined;
  readonly steps: readonly RecordedStep[];
  readonly packets: readonly RecordedPacket[];
}

/** What was recorded. */
export interface MachineRecord {
  readonly kernel: string | undefined;
  readonly files: readonly RecordedFile[];
  readonly cycle: RecordedCycle | undefined;
}

/**
 * Records a PF.
 *
 * @param vfid the VF to pause, save and resume; nothing is done to any unless given
 * @throws {Fault} what opening that VF throws
 */
export async function recordPf(
  machine: Machine,
  pf: string,
  vfid?: number,
): Promise<MachineRecord> {
  const files: RecordedFile[] = [];
  await walk(deviceDirectory(machine, pf), '', 'debugfs', files, 0);
  await walk(pciDirectory(machine, pf), '', 'sysfs', files, 0);
  return {
    kernel: await tryText(`${machine.proc}/sys/kernel/osrelease`),
    files,
    cycle: vfid === undefined ? undefined : await recordCycle(machine, pf, vfid),
  };
}

async function walk(
  root: string,
  below: string,
  label: string,
  files: RecordedFile[],
  depth: number,
): Promise<void> {
  for (const name of await namesIn(below === '' ? root : `${root}/${below}`)) {
    if (files.length >= ENTRIES || SKIPPED.has(name)) continue;
    const path = below === '' ? name : `${below}/${name}`;
    const at = `${root}/${path}`;
    const stats = await lstat(at).catch(() => undefined);
    if (stats === undefined) continue;
    const mode = `0${stats.mode.toString(8)}`;
    const entry = { path: `${label}/${path}`, mode };
    if (stats.isSymbolicLink()) files.push({ ...entry, link: await readlink(at).catch(() => '?') });
    else if (stats.isFile()) files.push({ ...entry, ...(await content(at, path)) });
    else {
      files.push(entry);
      if (stats.isDirectory() && depth < DEPTH) await walk(root, path, label, files, depth + 1);
    }
  }
}

async function content(at: string, path: string): Promise<{ text?: string; errno?: string }> {
  if (!CONTENT.some((known) => known.test(path))) return {};
  try {
    return { text: (await readFile(at, 'utf8')).slice(0, KEPT) };
  } catch (error) {
    return { errno: (error as NodeJS.ErrnoException).code ?? 'EIO' };
  }
}

async function recordCycle(machine: Machine, pf: string, vfid: number): Promise<RecordedCycle> {
  const { sysfs, debugfs } = machine;
  const lockDirectory = `${machine.run}/xe-vfio`;
  const vf = await LinuxXeSriovVfio.open({ pf, vf: vfid, sysfs, debugfs, lockDirectory });
  const steps: RecordedStep[] = [];
  const packets: RecordedPacket[] = [];
  let size: number | undefined;
  const step = async (name: string, run: () => Promise<unknown>): Promise<boolean> => {
    const start = performance.now();
    try {
      const bytes = await run();
      const ms = performance.now() - start;
      steps.push({ step: name, ms, ...(typeof bytes === 'number' && { bytes }) });
      return true;
    } catch (error) {
      const { code, message } = toFault(error);
      steps.push({ step: name, ms: performance.now() - start, errno: code, reason: message });
      return false;
    }
  };
  try {
    if (vf.migrationSupported() && (await step('pause', () => vf.suspendDevice(vfid)))) {
      await step('size', async () => {
        size = await vf.stopCopySize(vfid);
      });
      if (await step('save', () => vf.stopCopyEnter(vfid))) {
        await step('read', () => readPackets(vf, packets));
        await step('finish', () => vf.stopCopyExit(vfid));
      }
      await step('resume', () => vf.resumeDevice(vfid));
    }
  } finally {
    await vf.close();
  }
  const supported = vf.migrationUnsupportedReason() ?? 'yes';
  return { vfid, supported, size, steps, packets };
}

/** Reads a state to its end and keeps its headers. */
async function readPackets(vf: LinuxXeSriovVfio, packets: RecordedPacket[]): Promise<number> {
  const bounds = new PacketBounds(({ type, tile, gt, flags, offset, size }) =>
    packets.push({ type: packetTypeName(type), tile, gt, flags, offset, size }),
  );
  let total = 0;
  for (;;) {
    const views = await vf.dataRead(vf.vfid, PIECE);
    if (views.length === 0) return total;
    for (const view of views) {
      total += view.length;
      bounds.take(view);
    }
  }
}
