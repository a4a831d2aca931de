/**
 * REGION_READ, REGION_WRITE and REGION_WRITE_MULTI: the hot path. Nothing here allocates for an
 * access that fits the connection's buffers.
 *
 * Source: QEMU docs/interop/vfio-user.rst, Read and Write Operations.
 */
import { Fault } from '../base/fault.ts';
import { readU64 } from '../base/int.ts';
import { VFIO_REGION_INFO_FLAG } from '../vfio/uapi.ts';
import type { VfioDevice } from '../vfio/vfio-device.ts';
import { CODECS } from './codecs.ts';
import { LAYOUTS } from './layouts.ts';
import { demand, type Request } from './request.ts';

const { READ, WRITE } = VFIO_REGION_INFO_FLAG;
const OFFSET_AT = LAYOUTS.regionAccess.fields.offset[0];
const REGION_AT = LAYOUTS.regionAccess.fields.region[0];
const COUNT_AT = LAYOUTS.regionAccess.fields.count[0];
/** Bytes of the payload before the data. */
const ACCESS_SIZE = LAYOUTS.regionAccess.size;
const SINGLE_WRITE_SIZE = LAYOUTS.singleWrite.size;
const SINGLE_WRITE_DATA_AT = LAYOUTS.singleWrite.fields.data[0];

/** Sizes and permissions of a device's regions, asked for once. */
export class RegionTable {
  readonly #device: VfioDevice;
  readonly #sizes: Float64Array;
  readonly #flags: Uint32Array;
  readonly #maxCount: number;

  /** @param maxCount greatest count of one access, bytes */
  constructor(device: VfioDevice, maxCount: number) {
    const { numRegions } = device.info;
    this.#device = device;
    this.#maxCount = maxCount;
    this.#sizes = new Float64Array(numRegions);
    this.#flags = new Uint32Array(numRegions);
    for (let index = 0; index < numRegions; index++) {
      const { size, flags } = device.regionInfo(index);
      this.#sizes[index] = size;
      this.#flags[index] = flags;
    }
  }

  /** @throws {Fault} EINVAL unless the access is inside of a region that allows it */
  check(region: number, offset: number, count: number, wanted: number): void {
    const size = this.#sizes[region];
    if (size === undefined || size === 0) throw new Fault('EINVAL', `there is no region ${region}`);
    if (count > this.#maxCount)
      throw new Fault('EINVAL', `a count of ${count} is above ${this.#maxCount}`);
    if (!(offset + count <= size))
      throw new Fault('EINVAL', `${offset}+${count} is outside of region ${region}`);
    if (((this.#flags[region] ?? 0) & wanted) === 0)
      throw new Fault('EINVAL', `region ${region} forbids this`);
  }

  /**
   * Serves the REGION_READ at `at` of `view`.
   *
   * @param target where the data goes, from `targetAt`
   * @param room bytes that may be written there; the caller made enough
   * @returns count, bytes
   * @throws {Fault} EINVAL, and what the device says
   */
  read(view: DataView, at: number, target: Uint8Array, targetAt: number): number {
    const offset = readU64(view, at + OFFSET_AT);
    const region = view.getUint32(at + REGION_AT, true);
    const count = view.getUint32(at + COUNT_AT, true);
    this.check(region, offset, count, READ);
    if (count > 0) this.#device.regionRead(region, offset, target, targetAt, count);
    return count;
  }

  /**
   * Serves the REGION_WRITE at `at` of `bytes`, whose payload has `length` bytes.
   *
   * @returns a promise when the device must finish something before the reply
   * @throws {Fault} EINVAL, and what the device says
   */
  write(bytes: Uint8Array, view: DataView, at: number, length: number): void | Promise<void> {
    if (length < ACCESS_SIZE) throw new Fault('EINVAL', `a payload of ${length} bytes`);
    const offset = readU64(view, at + OFFSET_AT);
    const region = view.getUint32(at + REGION_AT, true);
    const count = view.getUint32(at + COUNT_AT, true);
    if (length - ACCESS_SIZE !== count)
      throw new Fault('EINVAL', `${length - ACCESS_SIZE} bytes of data for a count of ${count}`);
    this.check(region, offset, count, WRITE);
    if (count === 0) return undefined;
    return this.#device.regionWrite(region, offset, bytes, at + ACCESS_SIZE, count);
  }

  /**
   * Serves REGION_WRITE_MULTI: every write, or those before the first that fails.
   *
   * @returns bytes of the reply's payload, which tells how many were done
   * @throws {Fault} what the first write met, when nothing was done
   */
  async writeMulti(request: Request): Promise<number> {
    const { wrCnt } = request.decode('writeMulti');
    const first = request.at + CODECS.writeMulti.size;
    const room = request.length - CODECS.writeMulti.size;
    demand(wrCnt * SINGLE_WRITE_SIZE === room, `${room} bytes for ${wrCnt} writes`);
    let done = 0;
    try {
      for (; done < wrCnt; done++) {
        const at = first + done * SINGLE_WRITE_SIZE;
        const { offset, region, count } = CODECS.singleWrite.read(request.view, at);
        demand(count <= 8, `a count of ${count} is above 8`);
        this.check(region, offset, count, WRITE);
        if (count === 0) continue;
        const dataAt = at + SINGLE_WRITE_DATA_AT;
        await this.#device.regionWrite(region, offset, request.bytes, dataAt, count);
      }
    } catch (error) {
      if (done === 0) throw error;
    }
    CODECS.writeMulti.write(request.reply, request.replyAt, { wrCnt: done });
    return CODECS.writeMulti.size;
  }
}
