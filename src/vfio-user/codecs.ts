/**
 * Readers and writers of the structures of {@link LAYOUTS}, by hand on a DataView.
 *
 * A u64 above 2^53-1 is read as Infinity, which fails every range check. Nobody is trusted here:
 * readers check the length, callers the ranges.
 *
 * Source: QEMU docs/interop/vfio-user.rst.
 */
import { Fault } from '../base/fault.ts';
import { readU64, writeU64 } from '../base/int.ts';
import { type Codec, type Codecs, put16, put32, u16, u32, writeFour } from './codec.ts';
import { FEATURE_CODECS } from './codecs-feature.ts';
import { type Fields, LAYOUTS, type LayoutName } from './layouts.ts';

/** A codec for each structure. */
export const CODECS: Codecs<LayoutName> = {
  header: {
    size: LAYOUTS.header.size,
    read: (view, at) => ({
      id: u16(view, at),
      command: u16(view, at + 2),
      size: u32(view, at + 4),
      flags: u32(view, at + 8),
      error: u32(view, at + 12),
    }),
    write(view, at, { id, command, size, flags, error }) {
      put16(view, at, id);
      put16(view, at + 2, command);
      put32(view, at + 4, size);
      put32(view, at + 8, flags);
      put32(view, at + 12, error);
    },
  },
  version: {
    size: LAYOUTS.version.size,
    read: (view, at) => ({ major: u16(view, at), minor: u16(view, at + 2) }),
    write(view, at, { major, minor }) {
      put16(view, at, major);
      put16(view, at + 2, minor);
    },
  },
  dmaMap: {
    size: LAYOUTS.dmaMap.size,
    read: (view, at) => ({
      argsz: u32(view, at),
      flags: u32(view, at + 4),
      offset: readU64(view, at + 8),
      address: readU64(view, at + 16),
      size: readU64(view, at + 24),
    }),
    write(view, at, { argsz, flags, offset, address, size }) {
      put32(view, at, argsz);
      put32(view, at + 4, flags);
      writeU64(view, at + 8, offset);
      writeU64(view, at + 16, address);
      writeU64(view, at + 24, size);
    },
  },
  dmaUnmap: {
    size: LAYOUTS.dmaUnmap.size,
    read: (view, at) => ({
      argsz: u32(view, at),
      flags: u32(view, at + 4),
      address: readU64(view, at + 8),
      size: readU64(view, at + 16),
    }),
    write(view, at, { argsz, flags, address, size }) {
      put32(view, at, argsz);
      put32(view, at + 4, flags);
      writeU64(view, at + 8, address);
      writeU64(view, at + 16, size);
    },
  },
  deviceInfo: {
    size: LAYOUTS.deviceInfo.size,
    read: (view, at) => ({
      argsz: u32(view, at),
      flags: u32(view, at + 4),
      numRegions: u32(view, at + 8),
      numIrqs: u32(view, at + 12),
    }),
    write: (view, at, { argsz, flags, numRegions, numIrqs }) =>
      writeFour(view, at, argsz, flags, numRegions, numIrqs),
  },
  regionInfo: {
    size: LAYOUTS.regionInfo.size,
    read: (view, at) => ({
      argsz: u32(view, at),
      flags: u32(view, at + 4),
      index: u32(view, at + 8),
      capOffset: u32(view, at + 12),
      size: readU64(view, at + 16),
      offset: readU64(view, at + 24),
    }),
    write(view, at, { argsz, flags, index, capOffset, size, offset }) {
      writeFour(view, at, argsz, flags, index, capOffset);
      writeU64(view, at + 16, size);
      writeU64(view, at + 24, offset);
    },
  },
  capHeader: {
    size: LAYOUTS.capHeader.size,
    read: (view, at) => ({
      id: u16(view, at),
      version: u16(view, at + 2),
      next: u32(view, at + 4),
    }),
    write(view, at, { id, version, next }) {
      put16(view, at, id);
      put16(view, at + 2, version);
      put32(view, at + 4, next);
    },
  },
  sparseMmap: {
    size: LAYOUTS.sparseMmap.size,
    read: (view, at) => ({ nrAreas: u32(view, at), reserved: u32(view, at + 4) }),
    write(view, at, { nrAreas, reserved }) {
      put32(view, at, nrAreas);
      put32(view, at + 4, reserved);
    },
  },
  sparseArea: {
    size: LAYOUTS.sparseArea.size,
    read: (view, at) => ({ offset: readU64(view, at), size: readU64(view, at + 8) }),
    write(view, at, { offset, size }) {
      writeU64(view, at, offset);
      writeU64(view, at + 8, size);
    },
  },
  regionIoFds: {
    size: LAYOUTS.regionIoFds.size,
    read: (view, at) => ({
      argsz: u32(view, at),
      flags: u32(view, at + 4),
      index: u32(view, at + 8),
      count: u32(view, at + 12),
    }),
    write: (view, at, { argsz, flags, index, count }) =>
      writeFour(view, at, argsz, flags, index, count),
  },
  irqInfo: {
    size: LAYOUTS.irqInfo.size,
    read: (view, at) => ({
      argsz: u32(view, at),
      flags: u32(view, at + 4),
      index: u32(view, at + 8),
      count: u32(view, at + 12),
    }),
    write: (view, at, { argsz, flags, index, count }) =>
      writeFour(view, at, argsz, flags, index, count),
  },
  irqSet: {
    size: LAYOUTS.irqSet.size,
    read: (view, at) => ({
      argsz: u32(view, at),
      flags: u32(view, at + 4),
      index: u32(view, at + 8),
      start: u32(view, at + 12),
      count: u32(view, at + 16),
    }),
    write(view, at, { argsz, flags, index, start, count }) {
      writeFour(view, at, argsz, flags, index, start);
      put32(view, at + 16, count);
    },
  },
  regionAccess: {
    size: LAYOUTS.regionAccess.size,
    read: (view, at) => ({
      offset: readU64(view, at),
      region: u32(view, at + 8),
      count: u32(view, at + 12),
    }),
    write(view, at, { offset, region, count }) {
      writeU64(view, at, offset);
      put32(view, at + 8, region);
      put32(view, at + 12, count);
    },
  },
  dmaAccess: {
    size: LAYOUTS.dmaAccess.size,
    read: (view, at) => ({ address: readU64(view, at), count: readU64(view, at + 8) }),
    write(view, at, { address, count }) {
      writeU64(view, at, address);
      writeU64(view, at + 8, count);
    },
  },
  writeMulti: {
    size: LAYOUTS.writeMulti.size,
    read: (view, at) => ({ wrCnt: readU64(view, at) }),
    write: (view, at, { wrCnt }) => writeU64(view, at, wrCnt),
  },
  singleWrite: {
    size: LAYOUTS.singleWrite.size,
    read: (view, at) => ({
      offset: readU64(view, at),
      region: u32(view, at + 8),
      count: u32(view, at + 12),
      data: readU64(view, at + 16),
    }),
    write(view, at, { offset, region, count, data }) {
      writeU64(view, at, offset);
      put32(view, at + 8, region);
      put32(view, at + 12, count);
      writeU64(view, at + 16, data);
    },
  },
  ...FEATURE_CODECS,
  precopyInfo: {
    size: LAYOUTS.precopyInfo.size,
    read: (view, at) => ({
      argsz: u32(view, at),
      flags: u32(view, at + 4),
      initialBytes: readU64(view, at + 8),
      dirtyBytes: readU64(view, at + 16),
    }),
    write(view, at, { argsz, flags, initialBytes, dirtyBytes }) {
      put32(view, at, argsz);
      put32(view, at + 4, flags);
      writeU64(view, at + 8, initialBytes);
      writeU64(view, at + 16, dirtyBytes);
    },
  },
  precopyStop: {
    size: LAYOUTS.precopyStop.size,
    read: (view, at) => ({ stopUs: readU64(view, at), staleUs: readU64(view, at + 8) }),
    write(view, at, { stopUs, staleUs }) {
      writeU64(view, at, stopUs);
      writeU64(view, at + 8, staleUs);
    },
  },
};

/**
 * Reads structure `name` from the start of a payload.
 *
 * @param at where the payload begins in `view`
 * @param length bytes of the payload
 * @throws {Fault} EINVAL when the payload is too short
 */
export function decode<Name extends LayoutName>(
  name: Name,
  view: DataView,
  at: number,
  length: number,
): Fields<Name> {
  const codec: Codec<Name> = CODECS[name];
  if (length < codec.size)
    throw new Fault('EINVAL', `a payload of ${length} bytes is below the ${codec.size} of ${name}`);
  return codec.read(view, at);
}
