import { describe, expect, it } from 'vitest';
import type { DeviceClaim } from '../../src/migration/stream-device.ts';
import { StreamVerifier } from '../../src/migration/stream-verify.ts';
import { encodeDescriptor } from '../../src/xe/migration-packet.ts';
import { bmgPackets, pattern, streamBytes, type TestPacket } from '../support/stream-builder.ts';

const BMG: DeviceClaim = {
  deviceId: 0xe20b,
  revisionId: 0,
  ggttSize: 65536,
  vramSize: 8192,
  gucStateSizes: [64, 32],
};

function verify(packets: readonly TestPacket[], claim: DeviceClaim = {}) {
  const verifier = new StreamVerifier(claim);
  verifier.push(streamBytes(packets));
  return verifier.finish();
}

/** `packets` with those replaced, dropped or added that `change` says. */
function changed(change: (packet: TestPacket, at: number) => TestPacket[]): TestPacket[] {
  return bmgPackets().flatMap(change);
}

describe('StreamVerifier', () => {
  it('has nothing to remark on a stream that fits', () => {
    const packets = bmgPackets();
    expect(verify(packets, BMG)).toMatchObject({
      packets: packets.length,
      bytes: streamBytes(packets).length,
      device: { from: 'caller', platform: 'bmg', deviceId: 0xe20b, revisionId: 0 },
      warnings: [],
      unchecked: [],
    });
  });

  it('takes VRAM that does not come for zero where the VF ran while it was saved', () => {
    const [descriptor, ...rest] = bmgPackets();
    const vram = { type: 6, payload: pattern(4096), offset: 4096 };
    const others = rest.filter(({ type }) => type !== 6);
    const packets = [descriptor, vram, vram, ...others].flatMap((p) => p ?? []);
    expect(verify(packets, BMG)).toMatchObject({ precopied: true, warnings: [], unchecked: [] });
    expect(verify(bmgPackets(), BMG).precopied).toBe(false);
  });

  it('adds up the packets of each resource', () => {
    expect(verify(bmgPackets(), BMG).resources).toEqual([
      { resource: 'DESCRIPTOR', tile: 0, gt: 0, packets: 1, bytes: 16 },
      { resource: 'GUC', tile: 0, gt: 0, packets: 1, bytes: 64 },
      { resource: 'GGTT', tile: 0, gt: 0, packets: 1, bytes: 128 },
      { resource: 'MMIO', tile: 0, gt: 0, packets: 1, bytes: 16 },
      { resource: 'VRAM', tile: 0, gt: 0, packets: 2, bytes: 8192 },
      { resource: 'GUC', tile: 0, gt: 1, packets: 1, bytes: 32 },
      { resource: 'MMIO', tile: 0, gt: 1, packets: 1, bytes: 16 },
      { resource: 'TRAILER', tile: 0, gt: 0, packets: 1, bytes: 0 },
    ]);
  });

  describe('without a device', () => {
    it('takes it from the descriptor, and judges what follows by it', () => {
      const report = verify(bmgPackets());
      expect(report.device).toEqual({
        from: 'descriptor',
        platform: 'bmg',
        deviceId: 0xe20b,
        revisionId: 0,
      });
      expect(report.unchecked).toEqual([
        "the target's GGTT size is not known",
        "the target's VRAM size is not known",
        'the GuC state was not judged: its size is the business of firmware',
      ]);
      const onMedia = changed((p) => [p.type === 6 ? { ...p, gt: 1 } : p]);
      expect(() => verify(onMedia)).toThrow(expect.objectContaining({ code: 'ENXIO', packet: 4 }));
      const integrated = changed((p) =>
        p.type === 1 ? [{ ...p, payload: encodeDescriptor(0xb080, 4) }] : [p],
      );
      expect(() => verify(integrated)).toThrow(
        expect.objectContaining({ code: 'ENXIO', packet: 4 }),
      );
    });

    it('holds later descriptors to the first one', () => {
      const second = { type: 1, payload: encodeDescriptor(0xe20b, 1) };
      expect(() => verify([second, ...bmgPackets()])).toThrow(
        expect.objectContaining({ code: 'ENODEV', packet: 1, offset: 40 }),
      );
      const both = {
        type: 1,
        payload: Buffer.concat([second.payload, encodeDescriptor(0xe20c, 1)]),
      };
      expect(() => verify([both])).toThrow(expect.objectContaining({ code: 'ENODEV', packet: 0 }));
    });

    it('keeps what the caller does know', () => {
      expect(() => verify(bmgPackets(), { vramSize: 4096 })).toThrow(
        expect.objectContaining({ code: 'EINVAL', packet: 5, offset: 4440 }),
      );
    });

    it('says that only the structure was judged when there is no descriptor', () => {
      const report = verify(changed((p) => (p.type === 1 ? [] : [p])));
      expect(report.device.from).toBe('unknown');
      expect(report.unchecked[0]).toMatch(/^the device is not known/);
      expect(report.warnings.map(({ kind }) => kind)).toEqual(['no-descriptor']);
    });

    it('says so of a device that it does not know', () => {
      const other = changed((p) =>
        p.type === 1 ? [{ ...p, payload: encodeDescriptor(0x1234, 0) }] : [p],
      );
      expect(verify(other).unchecked[0]).toMatch(/^device 0x1234 is none of xe-vfio-pci's/);
    });

    it('says how much came before the descriptor', () => {
      const [descriptor, ...rest] = bmgPackets();
      if (descriptor === undefined) throw new RangeError('no descriptor');
      const late = [...rest.slice(0, 2), descriptor, ...rest.slice(2)];
      expect(verify(late).unchecked[0]).toBe(
        '2 packets came before the descriptor that names the device',
      );
    });
  });

  describe('warns of state that is lost', () => {
    const kinds = (packets: readonly TestPacket[], claim = BMG) =>
      verify(packets, claim).warnings.map(({ kind, text }) => `${kind}: ${text}`);

    it.each([
      [5, 0, 'missing: no GUC packet for GT 0: that state is lost'],
      [3, 0, 'missing: no GGTT packet for GT 0: that state is lost'],
      [4, 1, 'missing: no MMIO packet for GT 1: that state is lost'],
      [6, 0, 'missing: no VRAM packet: all 8192 bytes of VRAM are lost'],
    ])('when packets of type %i of GT %i are missing', (type, gt, text) => {
      expect(kinds(changed((p) => (p.type === type && (p.gt ?? 0) === gt ? [] : [p])))).toEqual([
        text,
      ]);
    });

    it('when VRAM has holes, also behind the last byte', () => {
      expect(kinds(changed((p) => (p.offset === 4096 ? [] : [p])))).toEqual([
        'hole: 4096 bytes of VRAM in one range did not come (first 0x1000-0x1fff)',
      ]);
      expect(
        kinds(
          changed((p) => (p.type === 6 && p.offset === 0 ? [] : [p])),
          {},
        ),
      ).toEqual(['hole: 4096 bytes of VRAM in one range did not come (first 0x0-0xfff)']);
    });

    it('when no VRAM came and its size is not known', () => {
      expect(
        kinds(
          changed((p) => (p.type === 6 ? [] : [p])),
          {},
        ),
      ).toEqual(['missing: no VRAM packet: all of the VRAM is lost']);
    });

    it('when something comes twice', () => {
      expect(kinds(changed((p) => (p.type === 4 && p.gt === 1 ? [p, p] : [p])))).toEqual([
        'twice: MMIO of GT 1 comes twice; the later one stays',
      ]);
      expect(kinds(changed((p) => (p.offset === 4096 ? [p, { ...p, offset: 100 }] : [p])))).toEqual(
        ['twice: VRAM at 0x64 comes twice; the later bytes stay'],
      );
    });

    it('when packets are skipped, and does not list thousands of them', () => {
      const unknown = { type: 9, payload: pattern(4) };
      const many = Array.from({ length: 1000 }, () => unknown);
      const said = kinds([...many, ...bmgPackets()]);
      expect(said[0]).toBe('skipped: a packet of unknown type 9 is skipped, with 4 bytes');
      expect(said).toHaveLength(17);
      expect(said[16]).toBe('skipped: and more of this kind that are not listed');
    });

    it('when the GuC state is no whole dwords', () => {
      const odd = changed((p) =>
        p.type === 5 && p.gt === 1 ? [{ ...p, payload: pattern(33) }] : [p],
      );
      expect(kinds(odd, { ...BMG, gucStateSizes: [64, 33] })).toEqual([
        "rounded: the last 1 bytes of GT 1's GuC state are dropped",
      ]);
    });
  });

  it('refuses part of a header after the trailer', () => {
    const stream = streamBytes(bmgPackets());
    const verifier = new StreamVerifier(BMG);
    verifier.push(Buffer.concat([stream, Buffer.from([1, 2])]));
    expect(() => verifier.finish()).toThrow(
      expect.objectContaining({ code: 'EINVAL', offset: stream.length, packet: 9 }),
    );
  });

  it('holds nothing of a payload, however large it is', () => {
    const verifier = new StreamVerifier({ ...BMG, vramSize: 2 ** 36 });
    const chunk = new Uint8Array(2 ** 20);
    const [before, after] = [bmgPackets([]).slice(0, 4), bmgPackets([]).slice(4)];
    verifier.push(streamBytes(before));
    verifier.push(streamBytes([{ type: 6, size: 2 ** 32 }]));
    const memory = process.memoryUsage().arrayBuffers;
    for (let at = 0; at < 4096; at++) verifier.push(chunk);
    expect(process.memoryUsage().arrayBuffers - memory).toBeLessThan(2 ** 20);
    verifier.push(streamBytes(after));
    expect(verifier.finish().bytes).toBeGreaterThan(2 ** 32);
  });
});
