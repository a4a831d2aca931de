import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, expect, test } from 'vitest';
import { killedAt } from '../../../guest/killed-takeover.mjs';
import { GuestBars } from '../../../src/app/guest-bars.ts';
import { GUEST_DRIVER_MEMORY, GuestLoad } from '../../../src/app/guest-load.ts';
import { requestRehome } from '../../../src/app/rehome-control.ts';
import { Memfd } from '../../../src/sys/memfd.ts';
import { VFIO_DMA_MAP_FLAG } from '../../../src/vfio/uapi.ts';
import { VfioUserClient } from '../../../src/vfio-user/client.ts';
import { PACKET_TYPE } from '../../../src/xe/migration-packet.ts';
import { Cli, endAll, lastDocument, runCli, serve } from '../cli.ts';
import { makeDirectory, removeDirectory } from '../vf-under-test.ts';

const IOVA = 2 ** 32;
const directory = makeDirectory();
const closers: (() => void | Promise<void>)[] = [];
let count = 0;

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
  await endAll();
});
afterAll(() => removeDirectory(directory));

/** A guest driver at work behind the socket, with memory that the server maps. */
async function guestAt(socket: string): Promise<GuestLoad> {
  const client = await VfioUserClient.connect(socket);
  closers.push(() => client.close());
  const memfd = Memfd.create('guest', GUEST_DRIVER_MEMORY);
  const mapping = memfd.map();
  const bars = new GuestBars(client);
  closers.push(() => {
    bars.close();
    mapping.close();
    memfd.close();
  });
  const bytes = mapping.view();
  const flags = VFIO_DMA_MAP_FLAG.READ | VFIO_DMA_MAP_FLAG.WRITE;
  const memory = { windows: [bytes], read: () => {}, write: () => {} };
  client.dmaMapFd({ iova: IOVA, size: bytes.length, flags, memory }, memfd.fd, 0);
  return await GuestLoad.boot(bars, { bytes, address: IOVA, inVram: false }, 1);
}

async function rounds(load: GuestLoad, wanted: number): Promise<void> {
  const { gucMessages } = load.counts;
  for (let n = 0; n < wanted; n++) await load.round();
  // A round waits for the answers of both GuCs and fails without them.
  expect(load.counts.gucMessages).toBeGreaterThan(gucMessages);
}

const freshSocket = () => join(directory, `${count++}.sock`);
const PTL = ['--platform', 'ptl', '--vfs', '3', '--pfs', 'a,b'];

async function takenOver(socket: string): Promise<Cli> {
  const server = new Cli(['serve', '--takeover', socket, '--json']);
  await server.until('ready', () => server.stdout.includes('"event":"ready"'));
  return server;
}

test('a new server takes the place of a running one under its client, again and again', async () => {
  const socket = freshSocket();
  let server = await serve(socket, PTL);
  const load = await guestAt(socket);
  await rounds(load, 5);
  for (let n = 0; n < 2; n++) {
    const next = await takenOver(socket);
    expect((await server.ended).code).toBe(0);
    expect(existsSync(socket)).toBe(true);
    expect(next.documents[0]).toMatchObject({ socket, pid: next.pid, platform: 'ptl', vfid: 1 });
    await rounds(load, 5);
    server = next;
  }
  expect((await server.kill('SIGTERM')).code).toBe(0);
  expect(existsSync(socket)).toBe(false);
});

test.each(['offered', 'ready', 'streaming', 'loaded'])(
  'a new server that is killed when %s leaves the running one serving',
  async (step) => {
    const socket = freshSocket();
    await serve(socket, PTL);
    const load = await guestAt(socket);
    await rounds(load, 2);
    const signal = await killedAt(socket, step);
    expect(signal).toBe('SIGKILL');
    await rounds(load, 5);
    await takenOver(socket);
    await rounds(load, 5);
  },
);

test('a VF moves to another PF unnoticed, and nothing moves that would be noticed', async () => {
  const socket = freshSocket();
  await serve(socket, PTL);
  const load = await guestAt(socket);
  await rounds(load, 5);
  for (const pf of ['b', 'a']) {
    const moved = await runCli(['rehome', socket, '--to-pf', pf, '--transparent', '--json']);
    expect(moved.code).toBe(0);
    expect(lastDocument(moved)).toMatchObject({
      schema: 1,
      event: 'rehomed',
      to: { pf, vfid: 1 },
      transparent: true,
    });
    await rounds(load, 5);
  }
  const noticed = await runCli(['rehome', socket, '--to-vf', '2', '--transparent']);
  expect(noticed.code).not.toBe(0);
  expect(noticed.stderr).toMatch(/cause: EINVAL the GGTT of the target begins at 0x/);
  await expect(requestRehome(socket, { pf: 'c' })).rejects.toThrow('there is no PF c');
  await expect(requestRehome(socket, { vfid: 9 })).rejects.toThrow('a has no VF 9');
  await expect(requestRehome(socket, { vfid: 1 })).rejects.toThrow('VF 1 of a is served itself');
  await rounds(load, 5);
});

test('a move whose stream does not end fails, and the VF serves on', async () => {
  const socket = freshSocket();
  await serve(socket, PTL);
  const load = await guestAt(socket);
  await rounds(load, 5);
  await expect(requestRehome(socket, { vfid: 2, withhold: PACKET_TYPE.TRAILER })).rejects.toThrow();
  await rounds(load, 5);
});
