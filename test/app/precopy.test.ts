/** Pre-copy of an emulated VF, from the variant driver down, without a socket in between. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { EmulatedHost } from '../../src/app/emulated-host.ts';
import { dataView } from '../../src/base/int.ts';
import { migrate } from '../../src/migration/session.ts';
import { save } from '../../src/migration/session-save.ts';
import { Mapping } from '../../src/sys/mapping.ts';
import { MIG_STATE } from '../../src/vfio/migration-state.ts';
import { VFIO_MIGRATION } from '../../src/vfio/uapi.ts';
import type { MigrationData } from '../../src/vfio/vfio-device.ts';
import {
  decodePacketHeader,
  PACKET_HEADER_SIZE,
  PACKET_TYPE,
} from '../../src/xe/migration-packet.ts';
import { StreamRules } from '../../src/xe/migration-stream.ts';
import { XE_BAR } from '../../src/xe/platforms.ts';
import type { XeVfioPci } from '../../src/xe-vfio-pci/xe-vfio-pci.ts';
import { isAcceptable } from '../support/stream-oracle.ts';

const MIB = 2 ** 20;
const VRAM = 16 * MIB;
const { RUNNING, STOP, STOP_COPY, PRE_COPY, PRE_COPY_P2P, RUNNING_P2P } = MIG_STATE;
const closers: Array<() => void> = [];

let host: EmulatedHost;
let source: XeVfioPci;
let target: XeVfioPci;
/** VRAM of the source as its processor sees it. */
let processor: Mapping;

beforeEach(async () => {
  host = await EmulatedHost.create({ platform: 'bmg', vfs: 2, vramSize: VRAM, precopyThreads: 0 });
  source = await host.open(1);
  target = await host.open(2);
  const [area] = source.regionInfo(XE_BAR.LMEM).areas;
  if (area === undefined) throw new TypeError('no VRAM to map');
  processor = Mapping.ofFd(area.fd, VRAM);
  closers.push(
    () => processor.close(),
    () => host.close(),
  );
});

afterEach(async () => {
  await source.close();
  await target.close();
  for (const close of closers.splice(0)) close();
});

/** Everything up to the end, perhaps a momentary one. */
async function drain(data: MigrationData, max = 300_000): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  try {
    for (;;) {
      const views = await data.read(max);
      if (views.length === 0) break;
      parts.push(...views.map((view) => view.slice()));
    }
  } catch (error) {
    if ((error as { code?: string }).code !== 'ENOMSG') throw error;
  }
  return Buffer.concat(parts);
}

function packets(stream: Buffer) {
  const all = [];
  for (let at = 0; at < stream.length; ) {
    const header = decodePacketHeader(dataView(stream.subarray(at, at + PACKET_HEADER_SIZE)));
    const payload = stream.subarray(at + PACKET_HEADER_SIZE, at + PACKET_HEADER_SIZE + header.size);
    all.push({ header, payload });
    at += PACKET_HEADER_SIZE + header.size;
  }
  return all;
}

async function begin(state: number = PRE_COPY): Promise<MigrationData> {
  const data = await source.setMigrationState(state);
  if (data === undefined) throw new TypeError('no data file');
  return data;
}

describe('flags', () => {
  test('VFs with VRAM have PRE_COPY; others, and those that shall be as in Linux, do not', async () => {
    const all = VFIO_MIGRATION.STOP_COPY | VFIO_MIGRATION.P2P | VFIO_MIGRATION.PRE_COPY;
    const linux = VFIO_MIGRATION.STOP_COPY | VFIO_MIGRATION.P2P;
    expect(source.migrationFlags).toBe(all);
    expect((host.profile(1).capabilities ?? 0) & 7).toBe(all);
    for (const options of [
      { platform: 'ptl' as const, vfs: 1 },
      { platform: 'bmg' as const, vfs: 1, vramSize: VRAM, linuxFlags: true },
    ]) {
      const other = await EmulatedHost.create(options);
      closers.push(() => other.close());
      const device = await other.open(1);
      expect(device.migrationFlags).toBe(linux);
      expect((other.profile(1).capabilities ?? 0) & 7).toBe(linux);
      await expect(device.precopyInfo()).rejects.toMatchObject({ code: 'ENOTTY' });
      expect(() => device.enablePrecopyInfoV2()).toThrow(
        expect.objectContaining({ code: 'EINVAL' }),
      );
      await expect(device.setMigrationState(PRE_COPY)).rejects.toMatchObject({ code: 'EINVAL' });
    }
  });
});

describe('the stream', () => {
  test('is one that Linux takes, of exactly the size that was told, and has the last word', async () => {
    processor.view(2 * MIB, MIB).fill(1);
    const data = await begin();
    const early = await drain(data, VRAM);
    expect(packets(early).map(({ header }) => header.type)).toEqual([
      PACKET_TYPE.DESCRIPTOR,
      PACKET_TYPE.VRAM,
    ]);
    processor.view(2 * MIB + 5, 1).fill(2);
    expect(await source.setMigrationState(STOP_COPY)).toBeUndefined();
    const size = await source.migrationDataSize();
    const late = await drain(data);
    expect(late.length).toBe(size);
    expect(await data.read(100)).toEqual([]);

    const stream = Buffer.concat([early, late]);
    const { deviceId = 0, revisionId = 0, ggttSize = 0 } = host.profile(1);
    const rules = new StreamRules({ deviceId, revisionId, ggttSize, vramSize: VRAM });
    const vram = new Uint8Array(VRAM);
    const gucStateSizes: number[] = [];
    for (const { header, payload } of packets(stream)) {
      rules.header(header);
      if (header.type === PACKET_TYPE.VRAM) vram.set(payload, header.offset);
      if (header.type === PACKET_TYPE.GUC) gucStateSizes[header.gt] = header.size;
    }
    rules.end(stream.length);
    const vf = { deviceId, revisionId, ggttSize, vramSize: VRAM, gucStateSizes };
    expect(isAcceptable(stream, vf)).toBe(true);
    expect(Buffer.compare(vram, processor.view())).toBe(0);
  });

  test('read in pieces of any size is the same', async () => {
    processor.view(0, MIB).fill(3);
    processor.view(8 * MIB + 100, 70_000).fill(4);
    for (const max of [1, 23, 24, 25, 4096, 65_536, 65_560, 5 * MIB]) {
      const data = await begin();
      const few = max < 4096;
      const parts: Uint8Array[] = [];
      for (let reads = 0; reads < (few ? 200 : Number.POSITIVE_INFINITY); reads++) {
        const views = await data.read(max).catch(() => undefined);
        if (views === undefined) break;
        parts.push(...views.map((view) => view.slice()));
      }
      await source.setMigrationState(STOP_COPY);
      const size = await source.migrationDataSize();
      const late = await drain(data);
      expect(late.length).toBe(size);
      const vram = new Uint8Array(VRAM);
      for (const { header, payload } of packets(Buffer.concat([...parts, late])))
        if (header.type === PACKET_TYPE.VRAM) vram.set(payload, header.offset);
      expect(Buffer.compare(vram, processor.view())).toBe(0);
      await source.setMigrationState(RUNNING);
    }
  });
});

describe('info', () => {
  test('tells what is left: initial bytes first, then what became dirty, then nothing', async () => {
    processor.view(4 * MIB, MIB).fill(1);
    const data = await begin();
    const { initialBytes } = await source.precopyInfo();
    expect(initialBytes).toBeGreaterThan(MIB);
    await data.read(MIB / 2);
    const half = await source.precopyInfo();
    expect(half.initialBytes).toBeLessThan(initialBytes);
    expect(half.initialBytes).toBeGreaterThan(0);
    await drain(data);
    expect(await source.precopyInfo()).toMatchObject({ initialBytes: 0, dirtyBytes: 0 });
    await expect(data.read(1)).rejects.toMatchObject({ code: 'ENOMSG' });

    await source.regionWrite(XE_BAR.LMEM, 4 * MIB, new Uint8Array([9]), 0, 1);
    expect(await source.precopyInfo()).toMatchObject({ initialBytes: 0, dirtyBytes: 65_536 });
    processor.view(12 * MIB, 1).fill(1);
    await expect.poll(async () => (await source.precopyInfo()).dirtyBytes).toBe(2 * 65_536);
    await drain(data);
    expect(await source.precopyInfo()).toMatchObject({ initialBytes: 0, dirtyBytes: 0 });
  });

  test('is there in PRE_COPY and PRE_COPY_P2P alone', async () => {
    await expect(source.precopyInfo()).rejects.toMatchObject({ code: 'EINVAL' });
    await begin();
    await source.setMigrationState(PRE_COPY_P2P);
    expect((await source.precopyInfo()).initialBytes).toBeGreaterThan(0);
    await source.setMigrationState(STOP_COPY);
    await expect(source.precopyInfo()).rejects.toMatchObject({ code: 'EINVAL' });
  });

  test('REINIT tells of a new beginning, once, to those who opted in', async () => {
    for (const optIn of [false, true]) {
      if (optIn) source.enablePrecopyInfoV2();
      processor.view(0, VRAM).fill(optIn ? 1 : 2);
      const data = await begin();
      await drain(data);
      await source.regionWrite(XE_BAR.LMEM, 0, new Uint8Array(10 * MIB).fill(7), 0, 10 * MIB);
      const info = await source.precopyInfo();
      expect(info).toMatchObject(
        optIn
          ? { reinit: true, initialBytes: 10 * MIB, dirtyBytes: 0 }
          : { reinit: false, initialBytes: 0, dirtyBytes: 10 * MIB },
      );
      expect((await source.precopyInfo()).reinit).toBe(false);
      await source.setMigrationState(RUNNING);
    }
  });
});

describe('ends', () => {
  test.each([
    ['PRE_COPY', PRE_COPY],
    ['PRE_COPY_P2P', PRE_COPY_P2P],
  ])(
    'a pre-copy given up in %s leaves the VF running, and can begin anew',
    async (_name, state) => {
      processor.view(0, MIB).fill(1);
      for (let n = 0; n < 2; n++) {
        const data = await begin(state);
        await data.read(1000);
        await source.setMigrationState(RUNNING);
        expect(await source.migrationState()).toBe(RUNNING);
        await expect(data.read(1)).rejects.toMatchObject({ code: 'ENODEV' });
      }
      expect(processor.view(0, MIB).every((byte) => byte === 1)).toBe(true);
      await source.setMigrationState(RUNNING_P2P);
      await source.setMigrationState(RUNNING);
    },
  );

  test('a reset ends it, and the VF can be saved again', async () => {
    processor.view(0, MIB).fill(1);
    const data = await begin();
    await data.read(1000);
    await source.reset();
    expect(await source.migrationState()).toBe(RUNNING);
    await expect(data.read(1)).rejects.toMatchObject({ code: 'ENODEV' });
    await expect(source.precopyInfo()).rejects.toMatchObject({ code: 'EINVAL' });
    const again = await begin();
    await drain(again);
    await source.setMigrationState(STOP);
  });

  test('STOP_COPY left before its end, after a pre-copy, too', async () => {
    processor.view(0, MIB).fill(1);
    const data = await begin();
    await drain(data);
    processor.view(0, 1).fill(2);
    await source.setMigrationState(STOP_COPY);
    await data.read(10);
    await source.setMigrationState(RUNNING);
    expect(await source.migrationState()).toBe(RUNNING);
  });
});

test('a VF whose VRAM changes all the while arrives whole, into a target that held something else', async () => {
  const [area] = target.regionInfo(XE_BAR.LMEM).areas;
  if (area === undefined) throw new TypeError('no VRAM to map');
  const other = Mapping.ofFd(area.fd, VRAM);
  other.view().fill(0xee);
  other.close();
  processor.view(0, 6 * MIB).fill(1);
  let seed = 1;
  const write = () => {
    for (let n = 0; n < 20; n++) {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      processor.view(seed % (VRAM - 64), 64).fill(seed >>> 24);
    }
    void source.regionWrite(XE_BAR.LMEM, seed % VRAM, new Uint8Array([seed >>> 20]), 0, 1);
  };
  const timer = setInterval(write, 1);
  try {
    const result = await migrate(
      { device: source, profile: host.profile(1) },
      { device: target, profile: host.profile(2) },
      {
        beforePhase: async (phase) => {
          if (phase === 'stop') clearInterval(timer);
          if (phase === 'run') expect(host.digests(2)).toEqual(host.digests(1));
        },
      },
    );
    expect(result.rounds.length).toBeGreaterThan(0);
    expect(result.phases.map(({ name }) => name)).toContain('precopy');
    expect(await target.migrationState()).toBe(RUNNING);
  } finally {
    clearInterval(timer);
  }
});

test('a VF that changes faster than its state goes over is stopped all the same', async () => {
  let running = true;
  let value = 1;
  const write = async () => {
    // A way to somewhere else lets others have their turn.
    await new Promise((resolve) => setImmediate(resolve));
    value = (value % 255) + 1;
    if (running)
      await source.regionWrite(XE_BAR.LMEM, 0, new Uint8Array(VRAM).fill(value), 0, VRAM);
  };
  await write();
  const sink = { write, finish: async () => 'kept', abort: async () => {} };
  const result = await save({ device: source }, async () => sink, {
    beforePhase: async (phase) => {
      if (phase === 'stop') running = false;
    },
  });
  expect(result.kept).toBe('kept');
  expect(result.rounds.at(-1)?.dirtyBytes).toBeGreaterThan(VRAM / 2);
});

test('a downtime that cannot be had is refused, and the source runs on', async () => {
  processor.view(0, MIB).fill(1);
  const ends = [{ device: source }, { device: target }] as const;
  const refused = migrate(...ends, { maxDowntimeMs: 1 });
  await expect(refused).rejects.toMatchObject({ code: 'ETIME', phase: 'precopy' });
  expect(await source.migrationState()).toBe(RUNNING);
  expect(await target.migrationState()).toBe(RUNNING);
});
