/** What a server says about its regions, checked before anything is mapped. */
import { Fault } from '../base/fault.ts';
import { PAGE_SIZE } from '../sys/mapping.ts';
import { VFIO_REGION_INFO_CAP, VFIO_REGION_INFO_FLAG } from '../vfio/uapi.ts';
import type { MmapArea, RegionInfo } from '../vfio/vfio-device.ts';
import { CODECS } from './codecs.ts';

const { READ, WRITE, MMAP, CAPS } = VFIO_REGION_INFO_FLAG;
const FIXED = CODECS.regionInfo.size;

function bad(reason: string): Fault {
  return new Fault('EPROTO', `the server's region info makes no sense: ${reason}`);
}

/** The areas of the sparse-mmap capability; undefined when the chain has none. */
function sparseAreas(
  view: DataView,
  capOffset: number,
): { offset: number; size: number }[] | undefined {
  let at = capOffset;
  // Each capability lies behind the one before it, so a chain cannot loop.
  while (at !== 0) {
    if (at < FIXED || at % 8 !== 0 || at + CODECS.capHeader.size > view.byteLength)
      throw bad(`a capability at ${at}`);
    const { id, next } = CODECS.capHeader.read(view, at);
    if (id === VFIO_REGION_INFO_CAP.SPARSE_MMAP) {
      const list = at + CODECS.capHeader.size;
      const first = list + CODECS.sparseMmap.size;
      if (first > view.byteLength) throw bad('a capability that is cut off');
      const { nrAreas } = CODECS.sparseMmap.read(view, list);
      if (first + nrAreas * CODECS.sparseArea.size > view.byteLength) throw bad(`${nrAreas} areas`);
      return Array.from({ length: nrAreas }, (_, index) =>
        CODECS.sparseArea.read(view, first + index * CODECS.sparseArea.size),
      );
    }
    if (next !== 0 && next <= at) throw bad('a chain that goes back');
    at = next;
  }
  return undefined;
}

/**
 * Reads the payload of a DEVICE_GET_REGION_INFO reply.
 *
 * @param fd descriptor that came along, -1 for none
 * @throws {Fault} EPROTO for anything that no server should say
 */
export function decodeRegionInfo(payload: Uint8Array, index: number, fd: number): RegionInfo {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  if (payload.length < FIXED) throw bad(`${payload.length} bytes`);
  const info = CODECS.regionInfo.read(view, 0);
  if (info.index !== index) throw bad(`index ${info.index} for ${index}`);
  if (!Number.isSafeInteger(info.size)) throw bad('a size above 2^53-1');
  const flags = info.flags & (READ | WRITE);
  if ((info.flags & MMAP) === 0 || fd < 0) return { index, flags, size: info.size, areas: [] };
  const listed = (info.flags & CAPS) === 0 ? undefined : sparseAreas(view, info.capOffset);
  const areas = (listed ?? [{ offset: 0, size: info.size }]).map(({ offset, size }): MmapArea => {
    if (!(offset + size <= info.size) || size === 0) throw bad(`area ${offset}+${size}`);
    if (offset % PAGE_SIZE !== 0) throw bad(`an area at ${offset}`);
    // The base may be before the file's start: the sum wraps, as the kernel's offset does.
    const place = BigInt.asUintN(64, view.getBigUint64(24, true) + BigInt(offset));
    if (place > BigInt(Number.MAX_SAFE_INTEGER)) throw bad(`an area at ${place} of its file`);
    return { offset, size, fd, fdOffset: Number(place) };
  });
  return { index, flags: flags | MMAP, size: info.size, areas };
}
