/**
 * Reading the state of a VF from the PF's `migration_data`.
 *
 * A read in the PF sleeps until there is data. In a session that is under way there always is some,
 * or an end, or an error; after a reset or when another process took the packets there is none, for
 * ever, and only a signal ends the read. What a read has begun of a packet stays in the PF: the next
 * restore would take it for its own.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_pf_migration.c (xe_sriov_pf_migration_read),
 * xe_sriov_packet.c (pf_pick_read_packet, xe_sriov_packet_write_single).
 */
import { DeviceFault, Fault, toFault } from '../base/fault.ts';
import type { BlockingFiles } from './sysfs-files.ts';
import { PacketBounds } from './xe-packet-bounds.ts';

/** Bytes asked for at once while a stream is thrown away. */
const DRAIN_SIZE = 8 * 2 ** 20;
/** What is under way gets so long to end by itself when its session is given up. */
export const GRACE_MS = 250;

/** One saving of one VF, from its beginning to its end. */
export class XeSaveStream {
  readonly #files: BlockingFiles;
  readonly #stallMs: number;
  readonly #bounds = new PacketBounds();
  #ended = false;
  #failed: Fault | undefined;

  /** @param stallMs a read that takes longer means that the PF has nothing to give */
  constructor(files: BlockingFiles, stallMs: number) {
    this.#files = files;
    this.#stallMs = stallMs;
  }

  /**
   * The next bytes of the stream, at most `max`, in the shared memory; fewer only at the end, none
   * after it.
   * @throws {Fault} EIO when the PF could not save; ETIMEDOUT when it gives nothing
   */
  async read(max: number): Promise<readonly Uint8Array[]> {
    if (this.#failed !== undefined) throw this.#failed;
    let got = 0;
    while (got < max && !this.#ended) got += await this.#pull(got, max - got);
    return got === 0 ? [] : [this.#files.shared(0, got)];
  }

  /**
   * Reads and forgets what is left, without which the PF does not let a VF out of saving.
   * @throws {DeviceFault} when that cannot be done: only a reset then frees the VF
   */
  async drain(): Promise<void> {
    try {
      if (this.#failed !== undefined) throw this.#failed;
      while (!this.#ended) await this.#pull(0, DRAIN_SIZE);
    } catch (error) {
      const cause = toFault(error);
      throw new DeviceFault(cause.code, `saving was not ended: ${cause.message}`, {
        cause,
        hint: 'reset the VF',
      });
    }
  }

  /**
   * Gives the session up before a reset, which lets nobody read any more.
   * @returns true when the PF has no packet that is half read
   */
  async abandon(): Promise<boolean> {
    const over = new Fault('ENODEV', 'the VF is reset');
    this.#failed ??= over;
    if (!(await this.#files.idle(GRACE_MS))) {
      this.#files.cut(over);
      return false;
    }
    try {
      // These bytes are there: the packet was made before its header could be read.
      while (this.#bounds.left > 0 && !this.#ended)
        await this.#pull(0, Math.min(this.#bounds.left, DRAIN_SIZE));
      return true;
    } catch {
      return false;
    }
  }

  async #pull(at: number, length: number): Promise<number> {
    let count: number;
    try {
      count = await this.#files.pull(at, length, this.#stallMs);
    } catch (error) {
      const cause = toFault(error);
      this.#failed ??= cause.code === 'ETIMEDOUT' ? this.#stalled(cause) : cause;
      throw this.#failed;
    }
    if (count === 0) this.#ended = true;
    else this.#bounds.take(this.#files.shared(at, count));
    return count;
  }

  #stalled(cause: Fault): Fault {
    return new Fault('ETIMEDOUT', `the PF gave no data for ${this.#stallMs / 1000} s`, {
      cause,
      hint: 'the VF was reset, or another process reads its migration_data; reset it',
    });
  }
}
