/** DMA_MAP and DMA_UNMAP. */
import { openSync } from 'node:fs';
import { expect, test } from 'vitest';
import { addSeals, closeFd, F_SEAL } from '../../support/libc.ts';
import type { RawClient } from '../../support/raw-client.ts';
import { eventually, Footprint } from '../../support/serving.ts';
import { CMD, dmaMap, dmaUnmap, E, FLAG, join, message, u64, version } from '../../support/wire.ts';
import { callCutShort, conformance } from './conformance.ts';
import { BASE, expectMapped, expectUnmapped, guestMemory, map, PAGE, unmap } from './dma-steps.ts';
import { expectInvalid, expectRefusal, expectSuccess, expectUsable } from './expectations.ts';

const MAP = CMD.DMA_MAP;
const UNMAP = CMD.DMA_UNMAP;
const TIB = 2 ** 40;

/** What the server announces as the number of maps that it takes. */
function announcedMaps(client: RawClient): number {
  const reply = expectSuccess(client.call(CMD.VERSION, version(0, 1, {})), CMD.VERSION);
  const text = new TextDecoder().decode(reply.payload.slice(4, -1));
  const capabilities = text === '' ? {} : JSON.parse(text).capabilities;
  return capabilities?.max_dma_maps ?? 65535;
}

conformance('DMA', (subject) => {
  test('DMA-02 after UNMAP nobody maps the memory', () => {
    const client = subject.client();
    const footprint = new Footprint(subject.serving);
    const fd = guestMemory(4 * PAGE);
    expectMapped(map(client, BASE, 4 * PAGE, fd));
    expectUnmapped(unmap(client, BASE, 4 * PAGE), BASE, 4 * PAGE);
    expect(addSeals(fd, F_SEAL.WRITE), 'F_SEAL_WRITE needs that no writable map is left').toBe(
      true,
    );
    closeFd(fd);
    expect(footprint.growth()).toBeUndefined();
  });

  test('DMA-03 short payloads; argsz 31 and 0', () => {
    const client = subject.client();
    for (const length of [31, 8]) {
      expectInvalid(callCutShort(client, MAP, dmaMap(BASE, PAGE), length), MAP);
      expectUnmapped(unmap(client, BASE, PAGE), BASE, PAGE);
    }
    for (const payload of [dmaMap(BASE, PAGE, { argsz: 31 }), dmaMap(BASE, PAGE, { argsz: 0 })])
      expectInvalid(client.call(MAP, payload), MAP);
    expectRefusal(unmap(client, BASE, PAGE), UNMAP, E.NOENT, E.INVAL);
  });

  test('DMA-05 the same range again is EEXIST', () => {
    const client = subject.client();
    const fd = guestMemory(PAGE);
    expectMapped(map(client, BASE, PAGE, fd));
    expectRefusal(map(client, BASE, PAGE, fd), MAP, E.EXIST);
    expectRefusal(map(client, BASE, PAGE), MAP, E.EXIST);
    expectUnmapped(unmap(client, BASE, PAGE), BASE, PAGE);
    closeFd(fd);
  });

  const overlaps: ReadonlyArray<readonly [string, number, number]> = [
    ['inside', 1, 1],
    ['the head', -1, 2],
    ['the tail', 3, 2],
    ['around', -1, 6],
    ['the same start', 0, 1],
    ['the same end', 3, 1],
  ];
  test('DMA-06 an overlap is EEXIST', () => {
    const client = subject.client();
    expectMapped(map(client, BASE, 4 * PAGE));
    for (const [, first, pages] of overlaps)
      expectRefusal(map(client, BASE + first * PAGE, pages * PAGE), MAP, E.EXIST);
    expectMapped(map(client, BASE - PAGE, PAGE));
    expectMapped(map(client, BASE + 4 * PAGE, PAGE));
  });

  test('DMA-08 a refused overlap leaves nothing behind', () => {
    const client = subject.client();
    const fd = guestMemory(8 * PAGE);
    const footprint = new Footprint(subject.serving);
    expectMapped(map(client, BASE, 4 * PAGE, fd));
    expectRefusal(map(client, BASE + 2 * PAGE, 4 * PAGE, fd), MAP, E.EXIST);
    expectUnmapped(unmap(client, BASE, 4 * PAGE), BASE, 4 * PAGE);
    expect(footprint.growth()).toBeUndefined();
    expectMapped(map(client, BASE, 8 * PAGE, fd));
    closeFd(fd);
  });

  test('DMA-09 size 0', () => {
    expectInvalid(map(subject.client(), BASE, 0), MAP);
  });

  test('DMA-11 an unaligned address; an unaligned size; an unaligned offset', () => {
    const client = subject.client();
    const fd = guestMemory(2 * PAGE);
    for (const payload of [
      dmaMap(BASE + 0x800, PAGE),
      dmaMap(BASE + 1, PAGE),
      dmaMap(BASE, PAGE + 1),
      dmaMap(BASE, 0x800),
    ])
      expectInvalid(client.call(MAP, payload), MAP);
    expectInvalid(client.call(MAP, dmaMap(BASE, PAGE, { offset: 1 }), { fds: [fd] }), MAP);
    closeFd(fd);
  });

  test('DMA-11 ranges that wrap or end beyond 2^64', () => {
    const client = subject.client();
    for (const [iova, size] of [
      [2n ** 64n - 4096n, 8192n],
      [4096n, 2n ** 64n - 4096n],
      [2n ** 63n, 2n ** 63n],
      [2n ** 64n - 4096n, 4096n],
    ] as const)
      expect(client.call(MAP, dmaMap(iova, size)).flags & FLAG.REPLY).toBe(FLAG.REPLY);
    expectUsable(client);
  });

  test('DMA-12 8 TiB + 4 KiB is taken or refused', () => {
    const client = subject.client();
    const reply = map(client, 0, 8 * TIB + PAGE);
    if (reply.error === 0) expectUnmapped(unmap(client, 0, 8 * TIB + PAGE), 0, 8 * TIB + PAGE);
    else expectRefusal(reply, MAP);
    expectUsable(client);
  });

  test('DMA-12 a descriptor that is shorter than the range, or is no memory', () => {
    const client = subject.client();
    const footprint = new Footprint(subject.serving);
    const fd = guestMemory(PAGE);
    const reply = map(client, BASE, 4 * PAGE, fd);
    if (reply.error === 0) expectUnmapped(unmap(client, BASE, 4 * PAGE), BASE, 4 * PAGE);
    const directory = openSync('/', 'r');
    expectRefusal(map(client, BASE, PAGE, directory), MAP);
    closeFd(directory);
    closeFd(fd);
    expect(footprint.growth()).toBeUndefined();
    expectUsable(client);
  });

  test('DMA-14 one map more than announced', () => {
    const client = subject.connect();
    const limit = announcedMaps(client);
    const iova = (i: number) => 2 ** 32 + i * PAGE;
    const batch = 4096;
    for (let from = 0; from < limit; from += batch) {
      const count = Math.min(batch, limit - from);
      const flags = FLAG.NO_REPLY;
      const maps = Array.from({ length: count }, (_, i) =>
        message(MAP, dmaMap(iova(from + i), PAGE), { flags }),
      );
      client.send(join(...maps));
    }
    expectRefusal(map(client, iova(limit - 1), PAGE), MAP, E.EXIST);
    expectRefusal(map(client, iova(limit), PAGE), MAP);
    expectUnmapped(unmap(client, iova(7), PAGE), iova(7), PAGE);
    expectMapped(map(client, iova(limit), PAGE));
  });

  test('DMA-15 UNMAP of nothing', () => {
    const client = subject.client();
    expectRefusal(unmap(client, BASE, PAGE), UNMAP, E.NOENT, E.INVAL);
    expectMapped(map(client, BASE, 4 * PAGE));
    for (const [iova, size] of [
      [BASE, PAGE],
      [BASE + PAGE, 3 * PAGE],
      [BASE, 8 * PAGE],
    ] as const)
      expectRefusal(unmap(client, iova, size), UNMAP, E.NOENT, E.INVAL);
    expectUnmapped(unmap(client, BASE, 4 * PAGE), BASE, 4 * PAGE);
  });

  test('DMA-17 UNMAP twice', () => {
    const client = subject.client();
    expectMapped(map(client, BASE, PAGE));
    expectUnmapped(unmap(client, BASE, PAGE), BASE, PAGE);
    expectRefusal(unmap(client, BASE, PAGE), UNMAP, E.NOENT, E.INVAL);
  });

  test('DMA-18 UNMAP with 8 and 23 bytes of payload', () => {
    const client = subject.client();
    for (const length of [8, 23]) {
      expectMapped(map(client, BASE, PAGE));
      expectInvalid(callCutShort(client, UNMAP, dmaUnmap(BASE, PAGE), length), UNMAP);
    }
  });

  test('DMA-19 UNMAP with argsz 8; with 2^32-1', () => {
    const client = subject.client();
    expectMapped(map(client, BASE, PAGE));
    expectInvalid(client.call(UNMAP, dmaUnmap(BASE, PAGE, { argsz: 8 })), UNMAP);
    const reply = client.call(UNMAP, dmaUnmap(BASE, PAGE, { argsz: 0xffff_ffff }));
    if (reply.error !== 0) expectInvalid(reply, UNMAP);
    else expectUnmapped(reply, BASE, PAGE);
    expectUsable(client);
  });

  test('DMA-21 UNMAP ALL: refused, or every map is gone and a range is refused', () => {
    const client = subject.client();
    const iovas = [BASE, BASE + PAGE, 2 ** 33];
    for (const iova of iovas) expectMapped(map(client, iova, PAGE));
    expectRefusal(client.call(UNMAP, dmaUnmap(BASE, PAGE, { flags: 2 })), UNMAP);
    const reply = client.call(UNMAP, dmaUnmap(0, 0, { flags: 2 }));
    for (const iova of iovas) {
      const after = unmap(client, iova, PAGE);
      if (reply.error === 0) expectRefusal(after, UNMAP, E.NOENT, E.INVAL);
      else expectUnmapped(after, iova, PAGE);
    }
  });

  test('DMA-22 a read-only descriptor with flags R', () => {
    const client = subject.client();
    const fd = guestMemory(PAGE);
    const readOnly = openSync(`/proc/self/fd/${fd}`, 'r');
    expectMapped(map(client, BASE, PAGE, readOnly, 1));
    expectUnmapped(unmap(client, BASE, PAGE), BASE, PAGE);
    closeFd(readOnly);
    closeFd(fd);
  });

  test('DMA-24 of two descriptors the second is closed', () => {
    const client = subject.client();
    const footprint = new Footprint(subject.serving);
    const fds = [guestMemory(PAGE), guestMemory(PAGE)];
    const reply = client.call(MAP, dmaMap(BASE, PAGE), { fds });
    if (reply.error === 0) expectUnmapped(unmap(client, BASE, PAGE), BASE, PAGE);
    for (const fd of fds) {
      expect(addSeals(fd, F_SEAL.WRITE)).toBe(true);
      closeFd(fd);
    }
    expect(footprint.growth()).toBeUndefined();
    expectUsable(client);
  });

  test('DMA-25 leaving unmaps everything', () => {
    const client = subject.client();
    const fds = Array.from({ length: 4 }, () => guestMemory(4 * PAGE));
    for (const [i, fd] of fds.entries())
      expectMapped(map(client, BASE + 0x10000 * i, 4 * PAGE, fd));
    subject.leave();
    for (const fd of fds) {
      expect(eventually(() => addSeals(fd, F_SEAL.WRITE), 2000)).toBe(true);
      closeFd(fd);
    }
    subject.expectNothingLeft();
  });

  test('DMA-27 200 rounds of map and unmap leave no descriptor and no mapping', () => {
    const client = subject.client();
    const fd = guestMemory(16 * PAGE);
    const footprint = new Footprint(subject.serving);
    const mappings = subject.serving.mappings();
    for (let round = 0; round < 200; round++) {
      expectMapped(map(client, BASE, 16 * PAGE, fd));
      expectUnmapped(unmap(client, BASE, 16 * PAGE), BASE, 16 * PAGE);
    }
    expect(footprint.growth()).toBeUndefined();
    expect(subject.serving.mappings() - mappings).toBeLessThan(100);
    closeFd(fd);
  });

  test('DMA-28 UNMAP with a dirty bitmap while not logging', () => {
    const client = subject.client();
    expectMapped(map(client, BASE, PAGE));
    const request = join(dmaUnmap(BASE, PAGE, { flags: 1, argsz: 24 + 16 + 8 }), u64(PAGE, 8));
    expectRefusal(client.call(UNMAP, request), UNMAP);
    expectRefusal(client.call(UNMAP, dmaUnmap(BASE, PAGE, { flags: 1 })), UNMAP);
    expectUnmapped(unmap(client, BASE, PAGE), BASE, PAGE);
  });

  test('DMA-30 flags that the specification does not have, without a descriptor', () => {
    const client = subject.client();
    for (const flags of [4, 8, 0x8000_0000])
      expectInvalid(client.call(MAP, dmaMap(BASE, PAGE, { flags: flags | 3 })), MAP);
    for (const flags of [4, 8]) expectInvalid(client.call(MAP, dmaMap(BASE, PAGE, { flags })), MAP);
  });
});
