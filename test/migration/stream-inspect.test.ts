import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inspectFile, inspectPacket } from '../../src/app/inspect.ts';
import { decodeDescriptor } from '../../src/migration/descriptor.ts';
import { countZeros } from '../../src/migration/zero-count.ts';
import { PACKET_TYPE } from '../../src/xe/migration-packet.ts';
import {
  bmgPackets,
  goldenBytes,
  goldenPath,
  manifest,
  packetBytes,
  pattern,
  streamBytes,
  type TestPacket,
} from '../support/stream-builder.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'xe-vfio-inspect-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(bytes: Uint8Array): string {
  const path = join(folder, 'stream');
  writeFileSync(path, bytes);
  return path;
}

describe('inspect', () => {
  it('lists every packet with its place, size and zeros', async () => {
    const packets = bmgPackets([4096, 5000]).map(
      (p): TestPacket =>
        p.offset === 4096 ? { ...p, payload: new Uint8Array(5000).fill(1, 0, 1000) } : p,
    );
    const stream = streamBytes(packets);
    const inspection = await inspectFile(file(stream), 100);
    expect(inspection).toMatchObject({ format: 'raw', bytes: stream.length, omitted: 0 });
    expect(inspection.stopped).toBeUndefined();
    let offset = 0;
    for (const [at, packet] of packets.entries()) {
      const size = packet.payload?.length ?? 0;
      expect(inspection.packets[at]).toMatchObject({
        packet: at,
        offset,
        size,
        present: size,
        zeros: packet.payload?.filter((byte) => byte === 0).length ?? 0,
        gt: packet.gt ?? 0,
        resourceOffset: packet.offset ?? 0,
      });
      offset += 24 + size;
    }
    expect(inspection.descriptors).toEqual([
      {
        packet: 0,
        klvs: [
          { key: 0xf001, name: 'DEVID', value: [0xe20b], cut: false },
          { key: 0xf002, name: 'REVID', value: [0], cut: false },
        ],
      },
    ]);
  });

  it('lists as many as it is told and counts the others', async () => {
    const inspection = await inspectFile(file(streamBytes(bmgPackets())), 3);
    expect(inspection.packets.map(({ packet }) => packet)).toEqual([0, 1, 2]);
    expect(inspection.omitted).toBe(bmgPackets().length - 3);
    expect(inspection.resources).toHaveLength(8);
  });

  it.each(manifest.vectors.map((vector) => [vector.name, vector] as const))(
    'goes through %s as far as it goes',
    async (_, vector) => {
      const inspection = await inspectFile(goldenPath(vector), 100);
      const { stopped, packets } = inspection;
      if (stopped === undefined) expect(inspection.bytes).toBe(goldenBytes(vector).length);
      else {
        const last = packets.at(-1);
        // The offending packet is listed when its header is there.
        expect([stopped.packet, stopped.packet + 1]).toContain(packets.length);
        if (last?.packet === stopped.packet) expect(last.offset).toBe(stopped.offset);
      }
    },
  );

  it('shows one packet, also the one that the stream is refused for', async () => {
    const packets = bmgPackets();
    packets.splice(3, 1, { type: PACKET_TYPE.MMIO, payload: pattern(12) });
    const path = file(streamBytes(packets));
    const good = await inspectPacket(path, 2, 10);
    expect(good.row).toMatchObject({ packet: 2, offset: 128, type: 'GGTT', size: 128 });
    expect(good.payload).toEqual(pattern(128).subarray(0, 10));
    const bad = await inspectPacket(path, 3, 4096);
    expect(bad.row).toMatchObject({ packet: 3, offset: 280, type: 'MMIO', size: 12 });
    expect(Buffer.from(bad.header)).toEqual(
      Buffer.from(packetBytes(packets[3] ?? { type: 0 }).subarray(0, 24)),
    );
    expect(bad.payload).toEqual(pattern(12));
    await expect(inspectPacket(path, 4, 16)).rejects.toMatchObject({ code: 'EINVAL', packet: 3 });
  });

  it('shows what is there of a packet that is cut, and says what is not there', async () => {
    const path = file(streamBytes(bmgPackets()).subarray(0, 100));
    expect((await inspectPacket(path, 1, 4096)).payload).toHaveLength(36);
    await expect(inspectPacket(path, 2, 16)).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    const whole = file(streamBytes(bmgPackets()));
    await expect(inspectPacket(whole, 9, 16)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('decodeDescriptor', () => {
  it('reads any bytes as far as they go', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const klvs = decodeDescriptor(bytes);
        for (const [at, { cut }] of klvs.entries()) expect(cut && at < klvs.length - 1).toBe(false);
      }),
    );
  });

  it('tells a value that is cut', () => {
    const bytes = Uint8Array.from([2, 0, 1, 0xf0, 5, 0, 0, 0]);
    expect(decodeDescriptor(bytes)).toEqual([
      { key: 0xf001, name: 'DEVID', value: [5], cut: true },
    ]);
  });
});

describe('countZeros', () => {
  it('counts as one by one', () => {
    const parts = fc.array(fc.tuple(fc.boolean(), fc.nat(5000)), { maxLength: 6 });
    fc.assert(
      fc.property(parts, (list) => {
        const bytes = Buffer.concat(list.map(([zero, size]) => Buffer.alloc(size, zero ? 0 : 5)));
        expect(countZeros(bytes)).toBe(bytes.filter((byte) => byte === 0).length);
      }),
      { numRuns: 50 },
    );
  });
});
