/** The client as a VfioDevice, against a server in a process of its own. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import { dupFd } from '../../src/sys/descriptor.ts';
import { EventFd } from '../../src/sys/eventfd.ts';
import { Memfd } from '../../src/sys/memfd.ts';
import { MIG_STATE } from '../../src/vfio/migration-state.ts';
import { VFIO_IRQ_SET, VFIO_PCI_IRQ, VFIO_REGION_INFO_FLAG } from '../../src/vfio/uapi.ts';
import type { DmaMapping, MigrationData } from '../../src/vfio/vfio-device.ts';
import { VfioUserClient } from '../../src/vfio-user/client.ts';
import type { ClientOptions } from '../../src/vfio-user/client-connect.ts';
import { BAR0, BUFFER, COMMAND } from '../support/case-registers.ts';
import { Serving } from '../support/serving.ts';

const { RUNNING, STOP, STOP_COPY, RESUMING, PRE_COPY } = MIG_STATE;
const PAGE = 4096;
const IOVA = 0x10_0000;

let serving: Serving;
const clients: VfioUserClient[] = [];

beforeAll(async () => {
  serving = await Serving.start({ device: 'case' });
});
afterAll(async () => {
  expect(await serving.stop()).toBe(0);
  expect(serving.errorOutput).toBe('');
});
afterEach(async () => {
  for (const client of clients.splice(0)) await client.close();
});

async function connect(options: ClientOptions = {}): Promise<VfioUserClient> {
  const client = await VfioUserClient.connect(serving.path(), options);
  clients.push(client);
  return client;
}

const MIGRATION: ClientOptions = { capabilities: { xe_vfio: { role: 'migration' } } };

function get(client: VfioUserClient, register: number): number {
  const bytes = new Uint8Array(4);
  client.regionRead(0, register, bytes, 0, 4);
  return new DataView(bytes.buffer).getUint32(0, true);
}

function put(client: VfioUserClient, register: number, value: number): void {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  client.regionWrite(0, register, bytes, 0, 4);
}

function steer(client: VfioUserClient, command: number, ...values: number[]): number {
  for (const [index, value] of values.entries()) put(client, BAR0.ARG0 + 4 * index, value);
  put(client, BAR0.COMMAND, command);
  return get(client, BAR0.RESULT);
}

/** Everything that a data file has, a copy. */
async function readAll(data: MigrationData | undefined, max: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for (;;) {
    const views = (await data?.read(max)) ?? [];
    if (views.length === 0) return Buffer.concat(parts);
    parts.push(...views.map((view) => view.slice()));
  }
}

describe('VfioUserClient', () => {
  test('knows the device', async () => {
    const client = await connect();
    expect(client.info).toEqual({ flags: 3, numRegions: 9, numIrqs: 5 });
    expect(client.migrationFlags).toBe(7);
    expect(client.regionInfo(7)).toMatchObject({ size: 256, areas: [] });
    expect(client.irqInfo(VFIO_PCI_IRQ.MSI).count).toBe(4);
    expect(() => client.regionInfo(9)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(() => client.irqInfo(5)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(client.serverCapabilities).toMatchObject({ max_msg_fds: 16, write_multiple: true });
  });

  test.each([0, 20])('reads and writes regions, spinning %i us', async (pollUs) => {
    const client = await connect({ pollUs });
    const pattern = Uint8Array.from({ length: 30_000 }, (_, index) => (index * 31) & 0xff);
    client.regionWrite(0, BUFFER, pattern, 0, pattern.length);
    const back = new Uint8Array(pattern.length + 2);
    client.regionRead(0, BUFFER, back, 1, pattern.length);
    expect(back.subarray(1, -1)).toEqual(pattern);
    client.regionWrite(0, BUFFER + 5, pattern, 100, 3);
    client.regionRead(0, BUFFER + 4, back, 0, 5);
    expect([...back.subarray(0, 5)]).toEqual([
      pattern[4],
      pattern[100],
      pattern[101],
      pattern[102],
      pattern[8],
    ]);
    for (let turn = 0; turn < 500; turn++) expect(get(client, BAR0.ID)).toBe(0x4553_4143);
  });

  test('the server’s errno is the Fault’s', async () => {
    const client = await connect();
    const bytes = new Uint8Array(4);
    expect(() => client.regionRead(0, BAR0.BROKEN, bytes, 0, 4)).toThrow(
      expect.objectContaining({ code: 'EIO' }),
    );
    expect(() => client.regionWrite(3, 0, bytes, 0, 4)).toThrow(
      expect.objectContaining({ code: 'EINVAL' }),
    );
    expect(get(client, BAR0.ID)).toBe(0x4553_4143);
  });

  test('posted and coalesced writes are done in order', async () => {
    const client = await connect();
    client.regionPost(0, BAR0.SCRATCH, new Uint8Array([1, 2, 3, 4]), 0, 4);
    expect(get(client, BAR0.SCRATCH)).toBe(0x0403_0201);
    client.regionWriteMulti([
      { region: 0, offset: BAR0.SCRATCH, data: new Uint8Array([9, 9, 9, 9]) },
      { region: 0, offset: BAR0.SCRATCH + 1, data: new Uint8Array([7]) },
      { region: 0, offset: BUFFER, data: new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]) },
    ]);
    expect(get(client, BAR0.SCRATCH)).toBe(0x0909_0709);
    expect(get(client, BUFFER + 4)).toBe(0x0807_0605);
    expect(() =>
      client.regionWriteMulti([
        { region: 0, offset: BAR0.SCRATCH, data: new Uint8Array([5]) },
        { region: 3, offset: 0, data: new Uint8Array([5]) },
      ]),
    ).toThrow(expect.objectContaining({ code: 'EIO', message: '1 of 2 writes were done' }));
  });

  test('maps the areas that the server offers', async () => {
    const client = await connect();
    const region = client.regionInfo(2);
    expect(region.flags & VFIO_REGION_INFO_FLAG.MMAP).not.toBe(0);
    expect(region.areas.map(({ offset, size }) => [offset, size])).toEqual([
      [0x1000, 0x1000],
      [0x4000, 0x2000],
    ]);
    for (const area of region.areas) {
      using mapping = client.mapArea(area);
      using again = client.mapArea(area);
      mapping.view()[17] = area.offset >> 12;
      expect(again.view(17, 1)[0]).toBe(area.offset >> 12);
    }
  });

  test('connects and disconnects interrupts', async () => {
    const client = await connect();
    const events = Array.from({ length: 4 }, () => new EventFd());
    const flags = VFIO_IRQ_SET.DATA_EVENTFD | VFIO_IRQ_SET.ACTION_TRIGGER;
    const index = VFIO_PCI_IRQ.MSI;
    const fds = events.map((event, vector) => (vector === 2 ? -1 : dupFd(event.fd)));
    client.setIrqs({ flags, index, start: 0, count: 4, fds });
    for (const vector of [0, 1, 3]) expect(steer(client, COMMAND.RAISE_IRQ, index, vector)).toBe(0);
    expect(steer(client, COMMAND.RAISE_IRQ, index, 2)).not.toBe(0);
    expect(events.map((event) => event.take())).toEqual([1, 1, 0, 1]);
    const bool = VFIO_IRQ_SET.DATA_BOOL | VFIO_IRQ_SET.ACTION_TRIGGER;
    client.setIrqs({ flags: bool, index, start: 0, count: 2, bools: new Uint8Array([0, 1]) });
    expect(events.map((event) => event.take())).toEqual([0, 1, 0, 0]);
    const none = VFIO_IRQ_SET.DATA_NONE | VFIO_IRQ_SET.ACTION_TRIGGER;
    client.setIrqs({ flags: none, index, start: 0, count: 0 });
    expect(steer(client, COMMAND.RAISE_IRQ, index, 0)).not.toBe(0);
    for (const event of events) event.close();
  });

  /** Memory of this process as a guest's, counted. */
  function guest(bytes: Uint8Array): DmaMapping & { reads: number } {
    const mapping = {
      iova: IOVA,
      size: bytes.length,
      flags: 3,
      reads: 0,
      memory: {
        windows: undefined,
        read(offset: number, target: Uint8Array) {
          mapping.reads++;
          target.set(bytes.subarray(offset, offset + target.length));
        },
        write(offset: number, source: Uint8Array) {
          bytes.set(source, offset);
        },
      },
    };
    return mapping;
  }

  test.each([
    ['on its own socket', true],
    ['in between', false],
  ])('answers the device’s DMA, %s', async (_name, twinSocket) => {
    const client = await connect({ twinSocket });
    const memory = Uint8Array.from({ length: 8 * PAGE }, (_, index) => (index * 7) & 0xff);
    const mapping = guest(memory);
    client.dmaMap(mapping);
    expect(steer(client, COMMAND.DMA_READ, IOVA + 100, 0, 20_000)).toBe(0);
    expect(mapping.reads).toBe(1);
    const back = new Uint8Array(20_000);
    client.regionRead(0, BUFFER, back, 0, back.length);
    expect(back).toEqual(memory.slice(100, 20_100));
    expect(steer(client, COMMAND.DMA_WRITE, IOVA + 1, 0, 3)).toBe(0);
    expect(memory.slice(1, 4)).toEqual(back.slice(0, 3));
    client.dmaUnmapAll();
    expect(steer(client, COMMAND.DMA_READ, IOVA, 0, 4)).not.toBe(0);
  });

  test('DMA in pieces of what this side takes', async () => {
    const client = await connect({ maxDataXferSize: 1000 });
    const mapping = guest(new Uint8Array(2 * PAGE));
    client.dmaMap(mapping);
    expect(steer(client, COMMAND.DMA_READ, IOVA, 0, 2500)).toBe(0);
    expect(mapping.reads).toBe(3);
  });

  test('offers memory that the server maps', async () => {
    const client = await connect();
    using memfd = Memfd.create('guest', 4 * PAGE);
    using view = memfd.map();
    const mapping = guest(new Uint8Array(2 * PAGE));
    client.dmaMapFd(mapping, memfd.fd, PAGE);
    view.view(PAGE, 3).set([5, 6, 7]);
    expect(steer(client, COMMAND.DMA_READ, IOVA, 0, 4)).toBe(0);
    expect(get(client, BUFFER)).toBe(0x0007_0605);
    expect(mapping.reads).toBe(0);
    expect(() => client.dmaMap(mapping)).toThrow(expect.objectContaining({ code: 'EEXIST' }));
    client.dmaUnmap(IOVA, 2 * PAGE);
    expect(() => client.dmaUnmap(IOVA, 2 * PAGE)).toThrow(
      expect.objectContaining({ code: 'ENOENT' }),
    );
  });

  test('logs what the device writes', async () => {
    const client = await connect();
    client.dmaMap(guest(new Uint8Array(16 * PAGE)));
    client.dmaLoggingStart(PAGE, [{ iova: IOVA, length: 16 * PAGE }]);
    expect(steer(client, COMMAND.DMA_WRITE, IOVA + 3 * PAGE - 1, 0, 2)).toBe(0);
    const bitmap = new Uint8Array(8);
    client.dmaLoggingReport(IOVA, 16 * PAGE, PAGE, bitmap);
    expect(bitmap[0]).toBe(0b1100);
    client.dmaLoggingStop();
  });

  test('a reset resolves when it is done', async () => {
    const client = await connect();
    put(client, BAR0.SCRATCH, 77);
    await client.reset();
    expect(get(client, BAR0.SCRATCH)).toBe(0);
  });

  test('synchronous calls go on while an asynchronous one waits', async () => {
    const client = await connect();
    put(client, BAR0.SLOW_MS, 50);
    const reset = client.reset();
    // The server serves one connection's commands in order: this one is answered after the reset.
    await new Promise((resolve) => setImmediate(resolve));
    expect(get(client, BAR0.SLOW_MS)).toBe(0);
    await reset;
  });
});

describe('migration', () => {
  test.each([100, 4096, 2 ** 20])('saves and loads, %i bytes at a time', async (max) => {
    const client = await connect();
    put(client, BAR0.SCRATCH, 0x1234);
    put(client, BAR0.STREAM_LENGTH, 100_001);
    const source = await client.setMigrationState(STOP_COPY);
    expect(await client.migrationDataSize()).toBe(100_017);
    const stream = await readAll(source, max);
    expect(stream.length).toBe(100_017);
    expect(await source?.read(max)).toEqual([]);
    expect(await client.setMigrationState(RUNNING)).toBeUndefined();
    await expect(source?.read(max)).rejects.toMatchObject({ code: 'ENODEV' });
    put(client, BAR0.SCRATCH, 0);
    const target = await client.setMigrationState(RESUMING);
    expect(target?.window(10)).toBeUndefined();
    for (let at = 0; at < stream.length; at += max)
      await target?.write(stream.subarray(at, at + max));
    await client.setMigrationState(RUNNING);
    expect(get(client, BAR0.SCRATCH)).toBe(0x1234);
    await expect(target?.write(stream)).rejects.toMatchObject({ code: 'ENODEV' });
  });

  test('a stream in pieces of many messages, read in odd sizes', async () => {
    const client = await connect({ maxDataXferSize: 10_000 });
    put(client, BAR0.STREAM_LENGTH, 300_000);
    const whole = await readAll(await client.setMigrationState(STOP_COPY), 2 ** 20);
    await client.setMigrationState(STOP);
    const odd = await readAll(await client.setMigrationState(STOP_COPY), 33_333);
    expect(odd).toEqual(whole);
  });

  test('pre-copy goes on into stop-copy with the same file', async () => {
    const client = await connect();
    const data = await client.setMigrationState(PRE_COPY);
    const first = Buffer.concat((await data?.read(4096)) ?? []);
    expect(first.length).toBe(16);
    await expect(data?.read(4096)).rejects.toMatchObject({ code: 'ENOMSG' });
    expect(await client.precopyInfo()).toMatchObject({ initialBytes: 0 });
    expect(await client.setMigrationState(STOP_COPY)).toBeUndefined();
    const rest = await readAll(data, 4096);
    expect(first.length + rest.length).toBe(await client.migrationDataSize());
    await expect(client.precopyInfo()).rejects.toMatchObject({ code: 'EINVAL' });
  });

  test('a refused change leaves the session as it was', async () => {
    const client = await connect();
    const data = await client.setMigrationState(STOP_COPY);
    await expect(client.setMigrationState(PRE_COPY)).rejects.toMatchObject({ code: 'EINVAL' });
    expect(await client.migrationState()).toBe(STOP_COPY);
    expect((await readAll(data, 4096)).length).toBe(await client.migrationDataSize());
  });

  test('an error of the stream comes back, again and again', async () => {
    const client = await connect();
    put(client, BAR0.FAIL_WRITE, 28);
    const data = await client.setMigrationState(RESUMING);
    const writes = async () => {
      for (let turn = 0; turn < 10; turn++) await data?.write(new Uint8Array(100_000));
    };
    await expect(writes()).rejects.toMatchObject({ code: 'ENOSPC' });
    await expect(data?.write(new Uint8Array(1))).rejects.toMatchObject({ code: 'ENOSPC' });
    await expect(client.setMigrationState(STOP)).rejects.toBeInstanceOf(Fault);
    await client.reset();
    expect(await client.migrationState()).toBe(RUNNING);
  });
});

describe('a client that only migrates', () => {
  test('is served beside the VMM, and may not use the device', async () => {
    const vmm = await connect();
    const tool = await connect(MIGRATION);
    put(vmm, BAR0.SCRATCH, 5);
    expect(get(tool, BAR0.SCRATCH)).toBe(5);
    expect(() => put(tool, BAR0.SCRATCH, 6)).toThrow(expect.objectContaining({ code: 'EPERM' }));
    await expect(tool.reset()).rejects.toMatchObject({ code: 'EPERM' });
    const none = VFIO_IRQ_SET.DATA_NONE | VFIO_IRQ_SET.ACTION_TRIGGER;
    const set = { flags: none, index: VFIO_PCI_IRQ.MSI, start: 0, count: 0 };
    expect(() => tool.setIrqs(set)).toThrow(expect.objectContaining({ code: 'EPERM' }));
    expect(tool.serverCapabilities).toMatchObject({
      max_data_xfer_size: 16 * 2 ** 20,
      xe_vfio: { role: 'migration' },
    });
  });

  test('one session at a time', async () => {
    const vmm = await connect();
    const tool = await connect(MIGRATION);
    const other = await connect(MIGRATION);
    await tool.setMigrationState(STOP_COPY);
    for (const late of [other, vmm]) {
      await expect(late.setMigrationState(STOP)).rejects.toMatchObject({ code: 'EBUSY' });
      expect(await late.migrationState()).toBe(STOP_COPY);
    }
    await tool.setMigrationState(RUNNING);
    await other.setMigrationState(STOP);
    await expect(tool.setMigrationState(STOP_COPY)).rejects.toMatchObject({ code: 'EBUSY' });
    await other.setMigrationState(RUNNING);
  });

  /** Waits until the device is in `state` for a new connection. */
  async function becomes(state: number): Promise<void> {
    const watcher = await connect(MIGRATION);
    await expect.poll(() => watcher.migrationState()).toBe(state);
  }

  test('a source whose tool vanishes runs again, and keeps what it had', async () => {
    const vmm = await connect();
    put(vmm, BAR0.SCRATCH, 99);
    const tool = await connect(MIGRATION);
    const data = await tool.setMigrationState(STOP_COPY);
    await data?.read(100);
    await tool.close();
    await becomes(RUNNING);
    expect(get(vmm, BAR0.SCRATCH)).toBe(99);
  });

  test('a target whose tool vanishes is reset', async () => {
    const vmm = await connect();
    const resets = get(vmm, BAR0.RESET_COUNT);
    const tool = await connect(MIGRATION);
    const data = await tool.setMigrationState(RESUMING);
    await data?.write(new Uint8Array(1000));
    await tool.close();
    await becomes(RUNNING);
    expect(get(vmm, BAR0.RESET_COUNT)).toBe(resets + 1);
  });

  test('the VMM that leaves in the middle of a session does not end it', async () => {
    const vmm = await connect();
    put(vmm, BAR0.SCRATCH, 31);
    const tool = await connect(MIGRATION);
    const data = await tool.setMigrationState(STOP_COPY);
    await vmm.close();
    const stream = await readAll(data, 2 ** 20);
    expect(stream.length).toBe(await tool.migrationDataSize());
    await tool.setMigrationState(RUNNING);
    const resets = get(tool, BAR0.RESET_COUNT);
    await tool.close();
    const next = await connect();
    expect(get(next, BAR0.RESET_COUNT)).toBe(resets + 1);
  });
});

test('clients that were hot, alone and together, are all served', async () => {
  const vmm = await connect();
  for (let round = 0; round < 300; round++) put(vmm, BAR0.SCRATCH, round);
  const tool = await connect(MIGRATION);
  for (let round = 0; round < 300; round++) expect(get(tool, BAR0.SCRATCH)).toBe(299);
  put(vmm, BAR0.SCRATCH, 1);
  expect(get(tool, BAR0.SCRATCH)).toBe(1);
  await tool.close();
  for (let round = 0; round < 300; round++) put(vmm, BAR0.SCRATCH, round);
  // Quiet, then busy with something that takes its time, then hot again.
  await new Promise((resolve) => setTimeout(resolve, 30));
  put(vmm, BAR0.SLOW_MS, 20);
  await vmm.reset();
  expect(get(vmm, BAR0.SCRATCH)).toBe(0);
});

test('a second VMM is refused in the end, and the first is unharmed', async () => {
  const vmm = await connect();
  await expect(connect()).rejects.toMatchObject({ code: 'EBUSY' });
  expect(get(vmm, BAR0.ID)).toBe(0x4553_4143);
});

test('a server that dies: what waits and what comes later is told', async () => {
  const dying = await Serving.start({ device: 'case' });
  const client = await VfioUserClient.connect(dying.path());
  put(client, BAR0.SLOW_MS, 60_000);
  const reset = client.reset();
  const told = expect(reset).rejects.toMatchObject({
    code: 'ECONNRESET',
    hint: expect.stringMatching(/server is gone/),
  });
  await dying.stop('SIGKILL');
  await told;
  expect(client.lost?.code).toBe('ECONNRESET');
  expect(() => get(client, BAR0.ID)).toThrow(expect.objectContaining({ code: 'ENOTCONN' }));
  await expect(client.migrationState()).rejects.toMatchObject({ code: 'ENOTCONN' });
  await client.close();
  await expect(VfioUserClient.connect(dying.path())).rejects.toMatchObject({ code: 'ENOENT' });
});

test('a reply that does not come in time', async () => {
  const client = await connect({ timeoutMs: 150, slowTimeoutMs: 20 });
  put(client, BAR0.SLOW_MS, 400);
  await expect(client.reset()).rejects.toMatchObject({ code: 'ETIMEDOUT' });
  expect(() => get(client, BAR0.ID)).toThrow(expect.objectContaining({ code: 'ETIMEDOUT' }));
  // Both replies come late and are thrown away; the connection goes on.
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(get(client, BAR0.ID)).toBe(0x4553_4143);
});
