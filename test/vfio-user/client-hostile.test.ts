/** A client does not trust its server. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import { UnixSocket } from '../../src/sys/unix-socket.ts';
import { VfioUserClient } from '../../src/vfio-user/client.ts';
import { decodeRegionInfo } from '../../src/vfio-user/client-regions.ts';
import { CODECS } from '../../src/vfio-user/codecs.ts';
import { MESSAGE, VFIO_USER } from '../../src/vfio-user/protocol.ts';

function message(command: number, payload: Uint8Array, change: object = {}): Uint8Array {
  const bytes = new Uint8Array(16 + payload.length);
  const header = { id: 0, command, size: bytes.length, flags: MESSAGE.REPLY, error: 0, ...change };
  CODECS.header.write(new DataView(bytes.buffer), 0, header);
  bytes.set(payload, 16);
  return bytes;
}

function versionReply(json: string, minor = 1): Uint8Array {
  const text = new TextEncoder().encode(json);
  return message(VFIO_USER.VERSION, new Uint8Array([0, 0, minor, 0, ...text, 0]));
}

describe('what a server may answer to VERSION', () => {
  let directory = '';
  let listener: UnixSocket;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'xe-vfio-hostile-'));
    listener = UnixSocket.listen(join(directory, 's.sock'));
  });
  afterEach(() => {
    listener.close();
    rmSync(directory, { recursive: true, force: true });
  });

  /** Connects to a server that says `bytes`, and perhaps leaves. */
  async function meet(bytes: Uint8Array, leaves = false): Promise<unknown> {
    const connecting = VfioUserClient.connect(join(directory, 's.sock'), { timeoutMs: 300 });
    const outcome = connecting.then(
      () => 'connected',
      (error: unknown) => error,
    );
    let server: UnixSocket | undefined;
    while (server === undefined) {
      await new Promise((resolve) => setImmediate(resolve));
      server = listener.accept();
    }
    server.send(bytes);
    if (leaves) server.close();
    const result = await outcome;
    server.close();
    return result;
  }

  test.each<[string, Uint8Array, string]>([
    ['another version', versionReply('{}', 2), 'EPROTO'],
    ['broken JSON', versionReply('{'), 'EINVAL'],
    [
      'transfers beyond reason',
      versionReply('{"capabilities":{"max_data_xfer_size":1e9}}'),
      'EPROTO',
    ],
    [
      'a twin socket that is not there',
      versionReply('{"capabilities":{"twin_socket":{"supported":true,"fd_index":0}}}'),
      'EPROTO',
    ],
    ['a reply to something else', message(VFIO_USER.DMA_MAP, new Uint8Array(0)), 'EPROTO'],
    ['another id', message(VFIO_USER.VERSION, new Uint8Array(4), { id: 5 }), 'EPROTO'],
    [
      'a size below the header',
      message(VFIO_USER.VERSION, new Uint8Array(0), { size: 8 }),
      'EPROTO',
    ],
    [
      'a size beyond reason',
      message(VFIO_USER.VERSION, new Uint8Array(0), { size: 2 ** 31 }),
      'EPROTO',
    ],
    [
      'a type that there is not',
      message(VFIO_USER.VERSION, new Uint8Array(0), { flags: 7 }),
      'EPROTO',
    ],
    [
      'a refusal',
      message(VFIO_USER.VERSION, new Uint8Array(0), { flags: 0x21, error: 16 }),
      'EBUSY',
    ],
    [
      'a refusal with an errno of its own',
      message(VFIO_USER.VERSION, new Uint8Array(0), { flags: 0x21, error: 4711 }),
      'EIO',
    ],
    [
      'a command beyond reason',
      message(VFIO_USER.DMA_READ, new Uint8Array(0), { flags: 0, size: 2 ** 30 }),
      'EPROTO',
    ],
  ])('%s', async (_name, bytes, code) => {
    expect(await meet(bytes)).toMatchObject({ name: 'Fault', code });
  });

  test('nothing', async () => {
    expect(await meet(new Uint8Array(0))).toMatchObject({ code: 'ETIMEDOUT' });
  });

  test('half a message, and then it leaves', async () => {
    const half = versionReply('{}').subarray(0, 18);
    expect(await meet(half, true)).toMatchObject({ code: 'ECONNRESET' });
  });

  test('anything at all gives a Fault', async () => {
    const inputs = fc.sample(fc.uint8Array({ minLength: 1, maxLength: 64 }), 40);
    for (const bytes of inputs) {
      const result = await meet(bytes, true);
      expect(result).toBeInstanceOf(Fault);
    }
  });
});

describe('region info', () => {
  function info(change: object, tail: readonly number[] = []): Uint8Array {
    const bytes = new Uint8Array(32 + tail.length);
    const value = { argsz: 64, flags: 15, index: 0, capOffset: 32, size: 0x8000, offset: 0 };
    CODECS.regionInfo.write(new DataView(bytes.buffer), 0, { ...value, ...change });
    bytes.set(tail, 32);
    return bytes;
  }

  /** A sparse-mmap capability with one area. */
  function sparse(offset: number, size: number, areas = 1, next = 0): number[] {
    const bytes = new Uint8Array(32);
    const view = new DataView(bytes.buffer);
    CODECS.capHeader.write(view, 0, { id: 1, version: 1, next });
    CODECS.sparseMmap.write(view, 8, { nrAreas: areas, reserved: 0 });
    CODECS.sparseArea.write(view, 16, { offset, size });
    return [...bytes];
  }

  test('areas are at the base plus their offset, which may wrap', () => {
    const bytes = info({}, sparse(0x1000, 0x2000));
    const base = new DataView(bytes.buffer);
    base.setBigUint64(24, 0x5000n, true);
    expect(decodeRegionInfo(bytes, 0, 9).areas).toEqual([
      { offset: 0x1000, size: 0x2000, fd: 9, fdOffset: 0x6000 },
    ]);
    base.setBigUint64(24, 2n ** 64n - 0x1000n, true);
    expect(decodeRegionInfo(bytes, 0, 9).areas[0]?.fdOffset).toBe(0);
  });

  test('a region without capabilities is one area, one without descriptor has none', () => {
    expect(decodeRegionInfo(info({ flags: 7, capOffset: 0 }), 0, 9).areas).toEqual([
      { offset: 0, size: 0x8000, fd: 9, fdOffset: 0 },
    ]);
    expect(decodeRegionInfo(info({}, sparse(0, 0x1000)), 0, -1).areas).toEqual([]);
  });

  test.each<[string, Uint8Array]>([
    ['too short', info({}).subarray(0, 31)],
    ['another index', info({ index: 1 }, sparse(0, 0x1000))],
    ['an area outside', info({}, sparse(0x7000, 0x2000))],
    ['an empty area', info({}, sparse(0x1000, 0))],
    ['an unaligned area', info({}, sparse(0x10, 0x1000))],
    ['a capability before the end of the structure', info({ capOffset: 8 }, sparse(0, 0x1000))],
    ['a capability behind the payload', info({ capOffset: 64 }, sparse(0, 0x1000))],
    ['more areas than there is room for', info({}, sparse(0, 0x1000, 1000))],
    ['a chain that goes round', info({}, [9, 0, 1, 0, 32, 0, 0, 0])],
  ])('%s is refused', (_name, bytes) => {
    expect(() => decodeRegionInfo(bytes, 0, 9)).toThrow(
      expect.objectContaining({ code: 'EPROTO' }),
    );
  });

  test('any bytes give a value or a Fault', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.boolean(), (bytes, likely) => {
        const input = likely ? new Uint8Array([...info({}), ...bytes]) : bytes;
        try {
          for (const area of decodeRegionInfo(input, 0, 9).areas)
            expect(area.offset + area.size).toBeLessThanOrEqual(0x8000);
        } catch (error) {
          if (!(error instanceof Fault)) throw error;
        }
      }),
      { numRuns: 500 },
    );
  });
});
