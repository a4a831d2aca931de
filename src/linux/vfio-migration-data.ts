/**
 * The migration data of a kernel device, by its descriptor.
 *
 * Reads may sleep in the driver for as long as it likes, so each runs on a thread of the pool, one at a
 * time, and the descriptor is closed only when none is under way.
 *
 * Source: the migration section of include/uapi/linux/vfio.h.
 */
import { read, write } from 'node:fs';
import { promisify } from 'node:util';
import { Fault } from '../base/fault.ts';
import { Mutex } from '../base/mutex.ts';
import { closeFd } from '../sys/descriptor.ts';
import { IoctlArgument, ioctlInBackground } from '../sys/ioctl.ts';
import { Mapping } from '../sys/mapping.ts';
import type { MigrationData, PrecopyInfo } from '../vfio/vfio-device.ts';
import { faultOfFile } from './sysfs-read.ts';
import { getStruct, putStruct } from './vfio-struct.ts';
import { VFIO_IOCTL, VFIO_PRECOPY_INFO_REINIT, VFIO_STRUCT } from './vfio-uapi.ts';

const readFile = promisify(read);
const writeFile = promisify(write);

/** A data file of a session, which it closes. */
export class KernelMigrationData implements MigrationData {
  readonly direction: 'read' | 'write';
  readonly #name: string;
  readonly #lock = new Mutex();
  #fd: number;
  #closing = false;
  /** Native memory, so that what is sent on goes out from where it lies. */
  #buffer: Mapping | undefined;

  /** Takes over descriptor `fd`. @param name what messages call the device */
  constructor(direction: 'read' | 'write', fd: number, name: string) {
    this.direction = direction;
    this.#fd = fd;
    this.#name = name;
  }

  read(max: number): Promise<readonly Uint8Array[]> {
    return this.#access('read', async () => {
      const bytes = this.#room(max);
      let done = 0;
      while (done < max) {
        const count = await this.#readSome(bytes, done, max - done);
        if (count === 0) break;
        done += count;
      }
      return done === 0 ? [] : [bytes.subarray(0, done)];
    });
  }

  /** @returns bytes, 0 at the end or, when some were read before, at a momentary end of pre-copy */
  async #readSome(bytes: Uint8Array, done: number, room: number): Promise<number> {
    try {
      return (await readFile(this.#fd, bytes, done, room, null)).bytesRead;
    } catch (error) {
      const fault = faultOfFile(error, `read the migration data of ${this.#name}`);
      if (done > 0 && fault instanceof Fault && fault.code === 'ENOMSG') return 0;
      throw fault;
    }
  }

  write(source: Uint8Array): Promise<void> {
    return this.#access('write', async () => {
      try {
        for (let done = 0; done < source.length; )
          done += (await writeFile(this.#fd, source, done, source.length - done, null))
            .bytesWritten;
      } catch (error) {
        throw faultOfFile(error, `write the migration data of ${this.#name}`);
      }
    });
  }

  /** Nothing lies in this process: everything passes through {@link write}. */
  window(): undefined {
    return undefined;
  }

  commit(): Promise<void> {
    return Promise.reject(new Fault('EINVAL', 'there is no window to commit'));
  }

  /** `VFIO_MIG_GET_PRECOPY_INFO`. @throws {Fault} EINVAL outside of pre-copy, ENODEV, ENOTTY */
  precopyInfo(): Promise<PrecopyInfo> {
    return this.#access('read', async () => {
      const { precopy_info } = VFIO_STRUCT;
      using argument = new IoctlArgument(precopy_info.size);
      putStruct(argument.view, 0, precopy_info, { argsz: precopy_info.size });
      const what = `ask for the pre-copy data of ${this.#name}`;
      await ioctlInBackground(this.#fd, VFIO_IOCTL.MIG_GET_PRECOPY_INFO, argument.address, what);
      const { flags, initial_bytes, dirty_bytes } = getStruct(argument.view, 0, precopy_info);
      return {
        initialBytes: Number(initial_bytes),
        dirtyBytes: Number(dirty_bytes),
        reinit: (flags & VFIO_PRECOPY_INFO_REINIT) !== 0,
      };
    });
  }

  close(): void {
    this.#closing = true;
    if (!this.#lock.held) this.#release();
  }

  async #access<T>(direction: 'read' | 'write', run: () => Promise<T>): Promise<T> {
    if (direction !== this.direction)
      throw new Fault('EINVAL', `the data of this session is not there to ${direction}`);
    await this.#lock.lock();
    try {
      this.#checkOpen();
      const result = await run();
      // What was read meanwhile goes with the memory that it lies in.
      this.#checkOpen();
      return result;
    } finally {
      this.#lock.unlock();
      if (this.#closing && !this.#lock.held) this.#release();
    }
  }

  #checkOpen(): void {
    if (this.#closing) throw new Fault('ENODEV', 'the migration session of this data has ended');
  }

  #room(size: number): Uint8Array {
    if (this.#buffer === undefined || this.#buffer.size < size) {
      this.#buffer?.close();
      this.#buffer = Mapping.anonymous(size);
    }
    return this.#buffer.view(0, size);
  }

  #release(): void {
    closeFd(this.#fd);
    this.#fd = -1;
    this.#buffer?.close();
    this.#buffer = undefined;
  }
}
