/** DEVICE_GET_REGION_INFO and DEVICE_GET_REGION_IO_FDS. */
import { expect, test } from 'vitest';
import { mapShared } from '../../support/libc.ts';
import { CMD, getRegionInfo, u32 } from '../../support/wire.ts';
import {
  CASE_DEVICE,
  CONFIG,
  conformance,
  type SeenRegion,
  seeDevice,
  seeRegion,
  seeRegions,
} from './conformance.ts';
import { closeAll, expectInvalid, expectSuccess, expectUsable } from './expectations.ts';

const REGION_INFO = CMD.DEVICE_GET_REGION_INFO;
const IO_FDS = CMD.DEVICE_GET_REGION_IO_FDS;
const FLAG = { READ: 1, WRITE: 2, MMAP: 4, CAPS: 8 } as const;
const SPARSE_MMAP = 1;

interface Area {
  readonly offset: number;
  readonly size: number;
}

/** Walks the capability chain. @returns the sparse areas in it */
function areasOf(region: SeenRegion): readonly Area[] {
  const view = new DataView(region.payload.buffer);
  const areas: Area[] = [];
  const visited = new Set<number>();
  for (let at = region.capOffset; at !== 0; at = view.getUint32(at + 4, true)) {
    expect(at).toBeGreaterThanOrEqual(32);
    expect(at % 4).toBe(0);
    expect(at + 8).toBeLessThanOrEqual(region.payload.length);
    expect(visited.has(at), 'the chain has a loop').toBe(false);
    visited.add(at);
    if (view.getUint16(at, true) !== SPARSE_MMAP) continue;
    expect(view.getUint16(at + 2, true), 'version').toBe(1);
    const count = view.getUint32(at + 8, true);
    expect(at + 16 + 16 * count).toBeLessThanOrEqual(region.payload.length);
    for (let i = 0; i < count; i++)
      areas.push({
        offset: Number(view.getBigUint64(at + 16 + 16 * i, true)),
        size: Number(view.getBigUint64(at + 24 + 16 * i, true)),
      });
  }
  return areas;
}

function ioFds(index: number, argsz = 4096, flags = 0, count = 0): Uint8Array {
  return u32(argsz, flags, index, count);
}

conformance('REG', (subject) => {
  test('REG-01 every region answers with its index', () => {
    const client = subject.client();
    for (const [index, region] of seeRegions(client).entries()) {
      expect(region.index).toBe(index);
      expect(region.payload.length).toBeGreaterThanOrEqual(32);
      expect(region.argsz).toBe(region.payload.length);
    }
  });

  test('REG-04 an index that the device does not have', () => {
    const client = subject.client();
    const { regions } = seeDevice(client);
    for (const index of [regions, regions + 1, 512, 0xffff_ffff])
      expectInvalid(client.call(REGION_INFO, getRegionInfo(index)), REGION_INFO);
    expectUsable(client);
  });

  test('REG-05 argsz 32: 32 bytes, the size needed, and MMAP only with a descriptor', () => {
    const client = subject.client();
    for (const region of seeRegions(client)) {
      const reply = client.call(REGION_INFO, getRegionInfo(region.index, 32));
      expectSuccess(reply, REGION_INFO, 32);
      closeAll(reply.fds);
      expect(reply.view.getUint32(0, true)).toBe(region.argsz);
      const flags = reply.view.getUint32(4, true);
      if (region.argsz > 32) expect(reply.view.getUint32(12, true), 'cap_offset').toBe(0);
      expect((flags & FLAG.MMAP) !== 0).toBe(reply.fds.length > 0);
    }
  });

  test('REG-05 argsz below 32', () => {
    const client = subject.client();
    for (const argsz of [0, 31])
      expectInvalid(client.call(REGION_INFO, getRegionInfo(CONFIG, argsz)), REGION_INFO);
  });

  test('REG-07 configuration space', () => {
    const region = seeRegion(subject.client(), CONFIG);
    expect([256, 4096]).toContain(region.size);
    expect(region.flags & (FLAG.READ | FLAG.WRITE | FLAG.MMAP)).toBe(FLAG.READ | FLAG.WRITE);
    expect(region.descriptors).toBe(0);
  });

  test('REG-08 the capability chain stays inside the payload', () => {
    for (const region of seeRegions(subject.client())) {
      if ((region.flags & FLAG.CAPS) === 0) expect(region.capOffset).toBe(0);
      else expect(region.capOffset).toBeGreaterThanOrEqual(32);
      areasOf(region);
    }
  });

  test('REG-10 sparse areas lie in the region, are not empty, do not overlap and can be mapped', () => {
    const client = subject.client();
    for (const region of seeRegions(client)) {
      const areas = [...areasOf(region)].sort((a, b) => a.offset - b.offset);
      let end = 0;
      for (const area of areas) {
        expect(area.size).toBeGreaterThan(0);
        expect(area.offset).toBeGreaterThanOrEqual(end);
        end = area.offset + area.size;
      }
      expect(end).toBeLessThanOrEqual(region.size);
      if ((region.flags & FLAG.MMAP) === 0) continue;
      const reply = expectSuccess(
        client.call(REGION_INFO, getRegionInfo(region.index)),
        REGION_INFO,
      );
      const [fd] = reply.fds;
      expect(fd).toBeDefined();
      const mappable = areas.length > 0 ? areas : [{ offset: 0, size: region.size }];
      for (const area of mappable) {
        const size = Math.min(area.size, 4096);
        const map = mapShared(
          fd ?? -1,
          BigInt.asIntN(64, region.offset + BigInt(area.offset)),
          size,
          true,
        );
        expect(map.bytes.length).toBe(size);
        expect(map.bytes[0], 'the page behind it exists').toBeGreaterThanOrEqual(0);
        map.unmap();
      }
      closeAll(reply.fds);
    }
  });

  test('REG-11 a region of size 0 is answered without MMAP and CAPS', () => {
    const empty = seeRegions(subject.client()).filter((region) => region.size === 0);
    expect(empty.length).toBeGreaterThan(0);
    for (const region of empty) {
      expect(region.flags & (FLAG.MMAP | FLAG.CAPS)).toBe(0);
      expect(region.descriptors).toBe(0);
    }
  });

  test('IOF-01 an index out of range', () => {
    const client = subject.client();
    const { regions } = seeDevice(client);
    for (const index of [regions, 0xffff_ffff])
      expectInvalid(client.call(IO_FDS, ioFds(index)), IO_FDS);
    expectUsable(client);
  });

  test('IOF-02 flags 1; count 1', () => {
    const client = subject.client();
    expectInvalid(client.call(IO_FDS, ioFds(0, 4096, 1)), IO_FDS);
    expectInvalid(client.call(IO_FDS, ioFds(0, 4096, 0, 1)), IO_FDS);
    expectUsable(client);
  });

  test('IOF-04 each sub-region names a descriptor that came, or none', () => {
    const client = subject.client();
    const { regions } = seeDevice(client);
    for (let index = 0; index < regions; index++) {
      const reply = client.call(IO_FDS, ioFds(index));
      closeAll(reply.fds);
      if (reply.error !== 0) {
        expectInvalid(reply, IO_FDS);
        continue;
      }
      const { view } = reply;
      const count = view.getUint32(12, true);
      expectSuccess(reply, IO_FDS, 16 + 40 * count);
      expect(view.getUint32(0, true)).toBe(16 + 40 * count);
      expect(view.getUint32(4, true), 'flags').toBe(0);
      expect(view.getUint32(8, true), 'index').toBe(index);
      const used = new Set<number>();
      for (let i = 0; i < count; i++) {
        const fdIndex = view.getInt32(16 + 40 * i + 16, true);
        expect(fdIndex).toBeGreaterThanOrEqual(-1);
        expect(fdIndex).toBeLessThan(reply.fds.length);
        if (fdIndex >= 0) used.add(fdIndex);
      }
      // D-03: one descriptor for each distinct one, however many sub-regions share it.
      expect(used.size).toBe(reply.fds.length);
    }
  });
});

conformance(
  'IOF of a device',
  (subject) => {
    test('D-03 argsz for 0 sub-regions tells the need, and no descriptors come', () => {
      const client = subject.client();
      const reply = client.call(IO_FDS, ioFds(0, 16));
      expect(reply.fds).toEqual([]);
      if (reply.error !== 0) expectInvalid(reply, IO_FDS);
      else {
        expectSuccess(reply, IO_FDS, 16);
        expect((reply.view.getUint32(0, true) - 16) % 40).toBe(0);
      }
    });
  },
  [CASE_DEVICE],
);
