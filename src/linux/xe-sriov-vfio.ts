/**
 * The PF driver's exports on a kernel without xe-vfio-pci: the same calls through the PF's debugfs.
 *
 * What the kernel does for its own variant driver and the files do not is done here: one holder a
 * VF, no call on a VF that is not enabled, no `save` on a PF that cannot migrate, no header that
 * the PF could choke on, sleepers that end with a reset, and a wait for the PF's part of a reset,
 * of which no file tells. docs/real-pf.md has the whole list.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_pf_debugfs.c, xe_sriov_vfio.c.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { DeviceFault, Fault, toFault } from '../base/fault.ts';
import { PACKET_HEADER_SIZE, VRAM_CHUNK_MAX_SIZE } from '../xe/migration-packet.ts';
import type { XeSriovVfio } from '../xe-vfio-pci/xe-sriov-vfio.ts';
import { migrationSizeOf, permissionFault, VF_FILE, vfDirectory } from './debugfs-xe.ts';
import { BlockingFiles } from './sysfs-files.ts';
import { pciDirectory } from './sysfs-pci.ts';
import { tryLink } from './sysfs-read.ts';
import { XeRestoreStream } from './xe-restore-stream.ts';
import { GRACE_MS, XeSaveStream } from './xe-save-stream.ts';
import {
  type FoundVf,
  findVf,
  type LinuxVfProfile,
  type LinuxXeSriovVfioOptions,
  notEnabled,
} from './xe-vf-opening.ts';

export type { LinuxVfProfile, LinuxXeSriovVfioOptions } from './xe-vf-opening.ts';

/** Shared memory at the beginning: a page for a header, and a piece of 8 MiB. */
const SHARED_SIZE = 4096 + 8 * 2 ** 20;
/** Descriptor (16 bytes of KLVs) and trailer, which the PF leaves out of `migration_size`. */
const FRAME_SIZE = 2 * PACKET_HEADER_SIZE + 16;
/** A control file answers within 1 s a GT, `reset` within 5 s, `restore` within 20 s. */
const CONTROL_TIMEOUT_MS = 30_000;
const FINISH_TIMEOUT_MS = 60_000;
/** The PF hears of a reset by a GuC event, which comes some milliseconds after it. */
const FLR_EVENT_MS = 50;
const FLR_TIMEOUT_MS = 15_000;
const FLR_RETRY_MS = 20;

/**
 * The exports of the PF driver for one VF, through files.
 *
 * @example
 * const pf = await LinuxXeSriovVfio.open({ pf: '0000:03:00.0', vf: 1 });
 * const device = await XeVfioPci.open({ pciFunction, pf, vfid: 1 });
 */
export class LinuxXeSriovVfio implements XeSriovVfio {
  /** Address of the VF's PF. */
  readonly pf: string;
  readonly vfid: number;
  readonly profile: LinuxVfProfile;
  readonly #found: FoundVf;
  readonly #directory: string;
  readonly #files = new BlockingFiles({ sharedSize: SHARED_SIZE });
  #save: XeSaveStream | undefined;
  #restore: XeRestoreStream | undefined;
  /** True when the PF may hold a part of a packet that nobody knows the end of. */
  #residue: boolean;
  #closed = false;

  /**
   * Opens a VF of a real PF and takes its lock. Nothing is done to the VF.
   *
   * @throws {Fault} EINVAL for what is no address or a VF that is not enabled; ENODEV when there is
   * no such device or it is not bound to xe; EPERM when it is no PF, or under kernel lockdown;
   * EACCES for who is not root; ENOENT without debugfs or without the files; EBUSY with the pid of
   * another holder
   */
  static async open(options: LinuxXeSriovVfioOptions): Promise<LinuxXeSriovVfio> {
    return new LinuxXeSriovVfio(await findVf(options));
  }

  private constructor(found: FoundVf) {
    const { roots, pf, vfid, profile, lock } = found;
    this.#found = found;
    this.pf = pf;
    this.vfid = vfid;
    this.profile = profile;
    this.#directory = vfDirectory(roots, pf, vfid);
    this.#residue = lock.abandoned !== null;
  }

  migrationSupported(): boolean {
    return this.#found.reason === undefined;
  }

  migrationUnsupportedReason(): string | undefined {
    return this.#found.reason;
  }

  /** Ends whatever session there is: its reader or writer wakes, and no half packet stays. */
  async flrPrepare(vfid: number): Promise<void> {
    this.#same(vfid);
    await this.#abandon();
  }

  /**
   * No file tells when the PF has done its part of a reset. But while it is at it, `reset` answers
   * an error only after it has waited for all GTs; and when it is not, `reset` does it once more,
   * which a VF that was reset just now does not notice. (`pause` would tell too, and break the reset.)
   */
  async waitFlrDone(vfid: number): Promise<void> {
    await this.#guard(vfid);
    await sleep(FLR_EVENT_MS);
    const deadline = performance.now() + FLR_TIMEOUT_MS;
    for (;;) {
      try {
        return await this.#command(VF_FILE.reset);
      } catch (error) {
        const fault = toFault(error);
        const running = ['EALREADY', 'EUCLEAN', 'EIO'].includes(fault.code);
        if (!running || performance.now() > deadline) throw fault;
        await sleep(FLR_RETRY_MS);
      }
    }
  }

  async suspendDevice(vfid: number): Promise<void> {
    await this.#guard(vfid);
    try {
      await this.#command(VF_FILE.pause);
    } catch (error) {
      await this.#runOn(toFault(error));
    }
  }

  async resumeDevice(vfid: number): Promise<void> {
    await this.#guard(vfid);
    try {
      await this.#command(VF_FILE.resume);
    } catch (error) {
      const cause = toFault(error);
      const reason = `VF${vfid} does not run again: ${cause.message}`;
      throw new DeviceFault(cause.code, reason, { cause, hint: 'reset the VF' });
    }
  }

  async stopCopyEnter(vfid: number): Promise<void> {
    await this.#guard(vfid);
    this.#needSupport();
    await this.#begin('save');
    this.#save = new XeSaveStream(this.#files, this.#found.stallMs);
  }

  async stopCopyExit(vfid: number): Promise<void> {
    await this.#guard(vfid);
    const stream = this.#session(this.#save, 'saved');
    this.#save = undefined;
    await stream.drain();
    await this.#finish(VF_FILE.save);
  }

  async resumeDataEnter(vfid: number): Promise<void> {
    await this.#guard(vfid);
    this.#needSupport();
    if (this.#residue) await this.#clearResidue();
    await this.#begin('restore');
    const { target, stallMs } = this.#found;
    this.#restore = new XeRestoreStream(this.#files, target, stallMs);
  }

  async resumeDataExit(vfid: number): Promise<void> {
    await this.#guard(vfid);
    const stream = this.#session(this.#restore, 'restored');
    this.#restore = undefined;
    try {
      // Without its trailer the PF would wait for it for 20 s.
      stream.finish();
    } catch (error) {
      await this.#files.closeData();
      throw error;
    }
    try {
      await this.#finish(VF_FILE.restore);
    } catch (error) {
      throw stream.refusal(toFault(error));
    }
  }

  async error(vfid: number): Promise<void> {
    await this.#guard(vfid);
    await this.#abandon();
    await this.#command(VF_FILE.stop);
  }

  async stopCopySize(vfid: number): Promise<number> {
    await this.#guard(vfid);
    this.#needSupport();
    const { roots, pf, target, gts } = this.#found;
    const tiles = new Set(gts.map(({ tile }) => tile)).size;
    // The PF counts one header for the VRAM of a tile, however many packets it comes in.
    const chunks = Math.ceil((target.vramSize ?? 0) / VRAM_CHUNK_MAX_SIZE);
    const headers = Math.max(chunks - 1, 0) * tiles * PACKET_HEADER_SIZE;
    return (await migrationSizeOf(roots, pf, vfid)) + FRAME_SIZE + headers;
  }

  async dataRead(vfid: number, max: number): Promise<readonly Uint8Array[]> {
    this.#same(vfid);
    return await this.#session(this.#save, 'saved').read(max);
  }

  async dataWrite(vfid: number, source: Uint8Array): Promise<void> {
    this.#same(vfid);
    await this.#session(this.#restore, 'restored').write(source);
  }

  dataWindow(vfid: number, max: number): Uint8Array | undefined {
    this.#same(vfid);
    return this.#restore?.window(max);
  }

  async dataCommit(vfid: number, length: number): Promise<void> {
    this.#same(vfid);
    await this.#session(this.#restore, 'restored').commit(length);
  }

  /** Ends the session, if there is one, and gives the lock back. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#abandon();
    this.#files.close();
    await this.#found.lock.close();
  }

  /** Begins a session: the PF first, then the lock's memory of it, then the data file. */
  async #begin(what: 'save' | 'restore'): Promise<void> {
    await this.#found.lock.note(what);
    await this.#command(VF_FILE[what]);
    // To begin a save, the PF forgets what an earlier session may have left half read.
    if (what === 'save') this.#residue = false;
    await this.#files.openData(`${this.#directory}/${VF_FILE.data}`, what === 'save' ? 'r' : 'w');
  }

  /** Ends a session: whoever reads the file of its operation does that. */
  async #finish(file: 'save' | 'restore'): Promise<void> {
    await this.#files.closeData();
    try {
      await this.#files.read(`${this.#directory}/${file}`, FINISH_TIMEOUT_MS);
    } catch (error) {
      const cause = toFault(error);
      if (file === 'restore') throw cause;
      throw new DeviceFault(cause.code, `saving VF${this.vfid} did not end: ${cause.message}`, {
        cause,
        hint: 'reset the VF',
      });
    }
    await this.#found.lock.note(null);
  }

  /** Gives up the session that is under way. */
  async #abandon(): Promise<void> {
    const [save, restore] = [this.#save, this.#restore];
    if (save === undefined && restore === undefined) return;
    this.#save = undefined;
    this.#restore = undefined;
    const over = new Fault('ENODEV', 'the migration session has ended');
    restore?.end(over);
    if (save !== undefined && !(await save.abandon())) this.#residue = true;
    // A writer sleeps only with a packet that the PF has whole and drops when the writer is killed.
    if (restore !== undefined && !(await this.#files.idle(GRACE_MS))) {
      this.#files.cut(over);
      this.#residue = true;
    }
    await this.#files.closeData();
    if (!this.#residue) await this.#found.lock.note(null);
  }

  /** A save from beginning to end makes the PF forget a packet that was left half read. */
  async #clearResidue(): Promise<void> {
    await this.#begin('save');
    await new XeSaveStream(this.#files, this.#found.stallMs).drain();
    await this.#finish(VF_FILE.save);
  }

  /**
   * Lets a VF run on that was to pause, GT by GT: one that did not pause answers EPERM.
   * @throws {Fault} the reason why it did not pause
   * @throws {DeviceFault} when it does not run on
   */
  async #runOn(fault: Fault): Promise<never> {
    for (const { tile, gt } of this.#found.gts) {
      const control = `${this.#directory}/tile${tile}/gt${gt}/control`;
      try {
        await this.#files.write(control, 'resume', CONTROL_TIMEOUT_MS);
      } catch (error) {
        const cause = toFault(error);
        if (cause.code === 'EPERM') continue;
        const reason = `${fault.message}; and VF${this.vfid} does not run on: ${cause.message}`;
        throw new DeviceFault(fault.code, reason, { cause, hint: 'reset the VF' });
      }
    }
    // A GT that has not answered in time may pause yet.
    if (fault.code === 'ETIMEDOUT')
      throw new DeviceFault('ETIMEDOUT', fault.message, { cause: fault, hint: 'reset the VF' });
    throw fault;
  }

  /** Writes 1 to a control file of the VF: the call into the PF, made and waited for. */
  async #command(file: string): Promise<void> {
    const path = `${this.#directory}/${file}`;
    try {
      await this.#files.write(path, '1', CONTROL_TIMEOUT_MS);
    } catch (error) {
      const fault = toFault(error);
      if (fault.code === 'EACCES') throw await permissionFault(this.#found.roots, path, fault);
      const { message, hint } = fault;
      throw new Fault(fault.code, `${file} of VF${this.vfid}: ${message}`, {
        cause: fault,
        ...(hint !== undefined && { hint }),
      });
    }
  }

  #session<T>(stream: T | undefined, what: string): T {
    if (stream !== undefined) return stream;
    throw new Fault('ENODEV', `VF${this.vfid} is not being ${what}`);
  }

  #needSupport(): void {
    const { reason } = this.#found;
    if (reason !== undefined) throw new Fault('ENOPKG', reason);
  }

  #same(vfid: number): void {
    if (vfid !== this.vfid) throw new Fault('EINVAL', `VF${this.vfid} was opened, not VF${vfid}`);
    if (this.#closed) throw new Fault('ENODEV', `VF${vfid} was closed`);
  }

  /**
   * The files act on VFs that are not enabled as well; the kernel's own exports do not. The link is
   * looked at and not `sriov_numvfs`, which cannot be read while VFs are disabled: that waits for
   * the VF to be given back, and giving it back passes here.
   */
  async #guard(vfid: number): Promise<void> {
    this.#same(vfid);
    const { roots, pf } = this.#found;
    if ((await tryLink(`${pciDirectory(roots, pf)}/virtfn${vfid - 1}`)) === undefined)
      throw notEnabled(pf, vfid);
  }
}
