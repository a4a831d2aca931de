/**
 * What a client asks about the device: DEVICE_GET_INFO, DEVICE_GET_REGION_INFO,
 * DEVICE_GET_REGION_IO_FDS, DEVICE_GET_IRQ_INFO.
 *
 * Source: QEMU docs/interop/vfio-user.rst, include/uapi/linux/vfio.h.
 */
import { TWO_32 } from '../base/int.ts';
import { VFIO_REGION_INFO_CAP, VFIO_REGION_INFO_FLAG } from '../vfio/uapi.ts';
import type { MmapArea, RegionInfo, VfioDevice } from '../vfio/vfio-device.ts';
import { CODECS } from './codecs.ts';
import { demand, type Request } from './request.ts';

const { READ, WRITE, MMAP, CAPS } = VFIO_REGION_INFO_FLAG;

/** DEVICE_GET_INFO. @throws {Fault} EINVAL for a short payload or argsz */
export function getInfo(request: Request, device: VfioDevice): number {
  const { argsz } = request.decode('deviceInfo');
  demand(argsz >= CODECS.deviceInfo.size, `argsz ${argsz} is too small`);
  const { flags, numRegions, numIrqs } = device.info;
  const size = CODECS.deviceInfo.size;
  CODECS.deviceInfo.write(request.reply, request.replyAt, {
    argsz: size,
    flags,
    numRegions,
    numIrqs,
  });
  return size;
}

/**
 * The areas that one descriptor and one base offset can describe, which is all that the message
 * has room for: those that share both with the first.
 */
function shareable(areas: readonly MmapArea[]): readonly MmapArea[] {
  const [first] = areas;
  if (first === undefined) return [];
  const base = first.fdOffset - first.offset;
  return areas.filter((area) => area.fd === first.fd && area.fdOffset - area.offset === base);
}

function coversAll(areas: readonly MmapArea[], size: number): boolean {
  const [only] = areas;
  return areas.length === 1 && only?.offset === 0 && only.size === size;
}

/** Writes `value`, which may be negative, as a u64: a base before the file's start wraps. */
function writeBase(view: DataView, at: number, value: number): void {
  const low = ((value % TWO_32) + TWO_32) % TWO_32;
  view.setUint32(at, low, true);
  view.setUint32(at + 4, Math.floor(value / TWO_32) >>> 0, true);
}

function writeSparse(view: DataView, at: number, areas: readonly MmapArea[]): void {
  const header = { id: VFIO_REGION_INFO_CAP.SPARSE_MMAP, version: 1, next: 0 };
  CODECS.capHeader.write(view, at, header);
  let place = at + CODECS.capHeader.size;
  CODECS.sparseMmap.write(view, place, { nrAreas: areas.length, reserved: 0 });
  place += CODECS.sparseMmap.size;
  for (const { offset, size } of areas) {
    CODECS.sparseArea.write(view, place, { offset, size });
    place += CODECS.sparseArea.size;
  }
}

/**
 * DEVICE_GET_REGION_INFO.
 *
 * @param mayMap false when this client takes no descriptors
 * @throws {Fault} EINVAL for a short payload or argsz, or an index that there is not
 */
export function getRegionInfo(request: Request, device: VfioDevice, mayMap: boolean): number {
  const { argsz, index } = request.decode('regionInfo');
  const fixed = CODECS.regionInfo.size;
  demand(argsz >= fixed, `argsz ${argsz} is too small`);
  demand(index < device.info.numRegions, `there is no region ${index}`);
  const info: RegionInfo = device.regionInfo(index);
  const areas = mayMap && info.size > 0 ? shareable(info.areas) : [];
  const sparse = areas.length > 0 && !coversAll(areas, info.size);
  const capsSize = sparse
    ? CODECS.capHeader.size + CODECS.sparseMmap.size + areas.length * CODECS.sparseArea.size
    : 0;
  const needed = fixed + capsSize;
  const complete = argsz >= needed;
  const [first] = areas;
  let flags = info.flags & (READ | WRITE);
  if (complete && first !== undefined) flags |= MMAP;
  if (complete && sparse) flags |= CAPS;
  const at = request.replyAt;
  CODECS.regionInfo.write(request.reply, at, {
    argsz: needed,
    flags,
    index,
    capOffset: complete && sparse ? fixed : 0,
    size: info.size,
    offset: 0,
  });
  if (!complete || first === undefined) return fixed;
  writeBase(request.reply, at + 24, first.fdOffset - first.offset);
  request.replyFds = [first.fd];
  if (sparse) writeSparse(request.reply, at + fixed, areas);
  return needed;
}

/**
 * DEVICE_GET_REGION_IO_FDS: no region has any.
 *
 * @throws {Fault} EINVAL for a short payload or argsz, flags or count, an index that there is not
 */
export function getRegionIoFds(request: Request, device: VfioDevice): number {
  const { argsz, flags, index, count } = request.decode('regionIoFds');
  const size = CODECS.regionIoFds.size;
  demand(argsz >= size, `argsz ${argsz} is too small`);
  demand(flags === 0 && count === 0, 'flags and count must be zero');
  demand(index < device.info.numRegions, `there is no region ${index}`);
  CODECS.regionIoFds.write(request.reply, request.replyAt, {
    argsz: size,
    flags: 0,
    index,
    count: 0,
  });
  return size;
}

/** DEVICE_GET_IRQ_INFO. @throws {Fault} EINVAL for a short payload or argsz, or a bad index */
export function getIrqInfo(request: Request, device: VfioDevice): number {
  const { argsz, index } = request.decode('irqInfo');
  const size = CODECS.irqInfo.size;
  demand(argsz >= size, `argsz ${argsz} is too small`);
  demand(index < device.info.numIrqs, `there is no interrupt ${index}`);
  const { flags, count } = device.irqInfo(index);
  CODECS.irqInfo.write(request.reply, request.replyAt, { argsz: size, flags, index, count });
  return size;
}
