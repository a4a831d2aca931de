/** Checkpoints on disk: whole or not at all, and any damage is found and named by its place. */
import { createHash } from 'node:crypto';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { verifyFile } from '../../src/app/verify.ts';
import { Fault } from '../../src/base/fault.ts';
import { CheckpointWriter } from '../../src/migration/checkpoint-writer.ts';
import { openCheckpoint, StreamFile } from '../../src/migration/stream-file.ts';
import { StreamReader } from '../../src/migration/stream-reader.ts';
import { bmgPackets, streamBytes } from '../support/stream-builder.ts';

const PACKETS = bmgPackets([4096, 8192]);
const STREAM = streamBytes(PACKETS);
const PROFILE = {
  platform: 'bmg',
  deviceId: 0xe20b,
  revisionId: 0,
  ggttSize: 65536,
  vramSize: 12288,
};

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'xe-vfio-checkpoint-'));
  path = join(folder, 'vm.xevf');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function write(stream: Uint8Array, piece = 1000, options = {}) {
  const writer = await CheckpointWriter.create(path, { profile: PROFILE, createdAt: 1 }, options);
  for (let at = 0; at < stream.length; at += piece)
    await writer.write(stream.subarray(at, at + piece));
  return writer.finish();
}

async function readAll(piece?: number): Promise<Buffer> {
  const file = await openCheckpoint(path);
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of new StreamReader(file).chunks(piece)) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks);
  } finally {
    await file.close();
  }
}

it('keeps the plain stream of another driver unexamined', async () => {
  const stream = Buffer.from('no packet of xe at all');
  expect(await write(stream, 5, { raw: true, opaque: true })).toMatchObject({
    streamBytes: stream.length,
    fileBytes: stream.length,
    sha256: createHash('sha256').update(stream).digest('hex'),
  });
  expect(readFileSync(path).equals(stream)).toBe(true);
  await expect(write(stream, 5, { raw: true })).rejects.toBeInstanceOf(Fault);
});

describe('a checkpoint', () => {
  it.each([7, 24, 1000, 2 ** 20])(
    'gives back the stream that came in pieces of %i',
    async (piece) => {
      const summary = await write(STREAM, piece);
      expect(summary).toMatchObject({
        path,
        streamBytes: STREAM.length,
        packets: PACKETS.length,
        fileBytes: statSync(path).size,
      });
      for (const size of [37, undefined]) expect((await readAll(size)).equals(STREAM)).toBe(true);
      expect(readdirSync(folder)).toEqual(['vm.xevf']);
      expect(statSync(path).mode & 0o777).toBe(0o600);
    },
  );

  it('carries its header, an index and the SHA-256 of what is in front of it', async () => {
    const { sha256 } = await write(STREAM);
    const bytes = readFileSync(path);
    const digest = createHash('sha256').update(bytes.subarray(0, -40)).digest('hex');
    expect([sha256, bytes.subarray(-40, -8).toString('hex')]).toEqual([digest, digest]);
    const file = await openCheckpoint(path);
    expect(file.checkpoint.header).toMatchObject({ profile: PROFILE, createdAt: 1 });
    expect(file.checkpoint.index).toHaveLength(PACKETS.length);
    expect(file.checkpoint.index?.[5]).toMatchObject({ type: 6, offset: 4440, size: 8192 });
    await file.close();
  });

  it('is the plain stream with raw', async () => {
    const { sha256 } = await write(STREAM, 1000, { raw: true });
    expect(readFileSync(path).equals(STREAM)).toBe(true);
    expect(sha256).toBe(createHash('sha256').update(STREAM).digest('hex'));
    await expect(openCheckpoint(path)).rejects.toMatchObject({ code: 'EINVAL' });
  });
});

describe('writing a checkpoint', () => {
  it('leaves the old file alone until the new one is whole', async () => {
    writeFileSync(path, 'old');
    const writer = await CheckpointWriter.create(path, { profile: PROFILE });
    await writer.write(STREAM);
    expect(readFileSync(path, 'utf8')).toBe('old');
    await writer.finish();
    expect((await readAll()).equals(STREAM)).toBe(true);
  });

  it.each([
    ['a stream without its trailer', STREAM.subarray(0, -24), 'ETIMEDOUT'],
    ['a stream that is cut', STREAM.subarray(0, 100), 'ETIMEDOUT'],
    ['what is no stream', new Uint8Array(100), 'EINVAL'],
    ['bytes after the trailer', Buffer.concat([STREAM, Buffer.from('x')]), 'EINVAL'],
  ])('keeps nothing of %s', async (_, bytes, code) => {
    writeFileSync(path, 'old');
    await expect(write(bytes)).rejects.toMatchObject({ code });
    expect(readdirSync(folder)).toEqual(['vm.xevf']);
    expect(readFileSync(path, 'utf8')).toBe('old');
  });

  it('removes what it wrote when aborted, as often as it is', async () => {
    const writer = await CheckpointWriter.create(path, { profile: PROFILE });
    await writer.write(STREAM);
    await writer.abort();
    await writer.abort();
    expect(readdirSync(folder)).toEqual([]);
    await expect(writer.write(STREAM)).rejects.toBeInstanceOf(Fault);
  });

  it('reports a disk that is full wherever it happens, and cleans up', async () => {
    writeFileSync(path, 'old');
    const whole = 4096 + STREAM.length + PACKETS.length * 24 + 72;
    for (const room of [0, 100, 4096, 4100, 4096 + STREAM.length, whole - 1, whole])
      await expect(write(STREAM, 1000, { open: fullAfter(room) })).rejects.toMatchObject({
        code: 'ENOSPC',
        message: `${path} finds no space left on its device`,
      });
    expect(readdirSync(folder)).toEqual(['vm.xevf']);
    expect(readFileSync(path, 'utf8')).toBe('old');
  });

  it('refuses to replace what is not a regular file, and follows a link to one', async () => {
    await expect(CheckpointWriter.create(folder, { profile: {} })).rejects.toMatchObject({
      code: 'EEXIST',
    });
    await expect(CheckpointWriter.create('/dev/null', { profile: {} })).rejects.toMatchObject({
      code: 'EEXIST',
    });
    await expect(
      CheckpointWriter.create(join(folder, 'no', 'vm.xevf'), { profile: {} }),
    ).rejects.toMatchObject({ code: 'ENOENT' });
    const real = join(folder, 'real.xevf');
    writeFileSync(real, 'old');
    symlinkSync(real, path);
    await write(STREAM);
    expect(readFileSync(path).equals(readFileSync(real))).toBe(true);
    expect(readdirSync(folder).sort()).toEqual(['real.xevf', 'vm.xevf']);
  });
});

describe('a damaged checkpoint', () => {
  it('is found cut wherever it is cut', async () => {
    await write(STREAM);
    const whole = readFileSync(path);
    const places = packetPlaces();
    for (let length = 8; length < whole.length; length += length % 97 === 0 ? 1 : 173) {
      writeFileSync(path, whole.subarray(0, length));
      await expect(openCheckpoint(path)).rejects.toMatchObject({ code: 'EUCLEAN' });
      const verdict = await verifyFile(path, {});
      const inStream = length - 4096;
      const place =
        inStream < 0
          ? { errno: 'EUCLEAN', offset: 0, packet: 0 }
          : inStream < STREAM.length
            ? { errno: 'ETIMEDOUT', ...cutPlace(places, inStream) }
            : { errno: 'EUCLEAN', offset: STREAM.length, packet: PACKETS.length };
      expect(verdict).toMatchObject({ ok: false, ...place });
    }
  });

  it('is found altered in any byte, and the packet is named', async () => {
    await write(STREAM);
    const whole = readFileSync(path);
    const places = packetPlaces();
    for (let at = 8; at < whole.length; at += at < 4200 || at > whole.length - 300 ? 11 : 311) {
      const altered = Buffer.from(whole);
      altered.writeUInt8(altered.readUInt8(at) ^ 0x10, at);
      writeFileSync(path, altered);
      await expect(readAll(), `byte ${at}`).rejects.toBeInstanceOf(Fault);
      const verdict = await verifyFile(path, {});
      expect(verdict.ok, `byte ${at}`).toBe(false);
      const inStream = at - 4096;
      if (inStream >= 0 && inStream < STREAM.length)
        expect(verdict).toMatchObject({ errno: 'EBADMSG', ...placeOf(places, inStream + 1) });
    }
  });

  it('never gives its trailer away', async () => {
    await write(STREAM);
    const altered = readFileSync(path);
    altered.writeUInt8(altered.readUInt8(4096 + 5000) ^ 1, 4096 + 5000);
    writeFileSync(path, altered);
    const file = await StreamFile.open(path);
    const reader = new StreamReader(file);
    let given = 0;
    const take = async () => {
      for await (const chunk of reader.chunks(512)) given += chunk.length;
    };
    await expect(take()).rejects.toMatchObject({ code: 'EBADMSG', packet: 5, offset: 4440 });
    expect(given).toBeLessThan(STREAM.length - 24);
    await file.close();
  });

  it('is found altered as a whole when every CRC was made to match', async () => {
    await write(STREAM);
    const other = readFileSync(path);
    const forged = Buffer.from(other);
    // Another header with its own CRC is a header of another checkpoint.
    forged.writeUInt8(1, 24);
    const { crc32 } = await import('node:zlib');
    forged.writeUInt32LE(crc32(forged.subarray(0, 4092)), 4092);
    writeFileSync(path, forged);
    await expect(readAll()).rejects.toMatchObject({
      code: 'EBADMSG',
      message: expect.stringContaining('SHA-256'),
    });
  });
});

function packetPlaces(): number[] {
  let at = 0;
  return PACKETS.map(({ payload }) => {
    const offset = at;
    at += 24 + (payload?.length ?? 0);
    return offset;
  });
}

/** The packet that the last of `length` bytes belongs to. */
function placeOf(places: readonly number[], length: number): { offset: number; packet: number } {
  const packet = Math.max(places.filter((offset) => offset < length).length - 1, 0);
  return { offset: places[packet] ?? 0, packet };
}

/** Where what is missing begins when only `length` bytes are there. */
function cutPlace(places: readonly number[], length: number): { offset: number; packet: number } {
  const packet = places.indexOf(length);
  return packet < 0 ? placeOf(places, length) : { offset: length, packet };
}

/** A file system with room for so many bytes. */
function fullAfter(room: number): typeof open {
  let left = room;
  return (async (name: string, flags: string, mode?: number) => {
    const handle = await open(name, flags, mode);
    const full = () => Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' });
    return {
      write: async (bytes: Uint8Array, from: number, length: number) => {
        if (left <= 0) throw full();
        const taken = Math.min(length, left);
        left -= taken;
        return handle.write(bytes, from, taken);
      },
      sync: async () => {
        // Delayed allocation: the last bytes are refused only here.
        if (left <= 0) throw full();
        await handle.sync();
      },
      close: () => handle.close(),
    };
  }) as typeof open;
}
