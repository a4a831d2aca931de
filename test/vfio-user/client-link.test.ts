/** Which descriptors a client keeps, and that its event loop hears of the server after a hot call. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { closeFd, fstat } from '../../src/sys/descriptor.ts';
import { EventFd } from '../../src/sys/eventfd.ts';
import { UnixSocket } from '../../src/sys/unix-socket.ts';
import { ClientLink } from '../../src/vfio-user/client-link.ts';
import { ClientMemory } from '../../src/vfio-user/client-memory.ts';
import { CODECS } from '../../src/vfio-user/codecs.ts';
import { HEADER_SIZE, MESSAGE, VFIO_USER } from '../../src/vfio-user/protocol.ts';
import { openDescriptors } from '../support/process-resources.ts';

const { REGION_READ, DEVICE_GET_REGION_INFO, VERSION } = VFIO_USER;

let server: UnixSocket;
let link: ClientLink;
let event: EventFd;

beforeEach(() => {
  const [theirs, ours] = UnixSocket.pair();
  server = theirs;
  link = new ClientLink(ours, new ClientMemory(4096), { timeoutMs: 1000, pollUs: 0 });
  event = new EventFd();
});
afterEach(() => {
  link.close();
  server.close();
  event.close();
});

/** What the server says before it is asked: request ids count from 0. */
function reply(id: number, command: number, payload: readonly number[], error = 0): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE + payload.length);
  const flags = MESSAGE.REPLY | (error === 0 ? 0 : MESSAGE.ERROR);
  const header = { id, command, size: bytes.length, flags, error };
  CODECS.header.write(new DataView(bytes.buffer), 0, header);
  bytes.set(payload, HEADER_SIZE);
  return bytes;
}

function call(command: number): number[] {
  link.begin();
  link.call(command, 0);
  const { at, length } = link.reply;
  return [...link.channel.rx.subarray(at, at + length)];
}

describe('descriptors with replies to synchronous calls', () => {
  test('are closed when nobody expects any', () => {
    const before = openDescriptors(process.pid);
    server.send(reply(0, REGION_READ, [7, 8]), [event.fd, event.fd]);
    expect(call(REGION_READ)).toEqual([7, 8]);
    server.send(reply(1, REGION_READ, [9]));
    expect(call(REGION_READ)).toEqual([9]);
    expect(openDescriptors(process.pid)).toEqual(before);
  });

  test('are handed over to the one who asks for them', () => {
    server.send(reply(0, DEVICE_GET_REGION_INFO, [1]), [event.fd]);
    link.begin();
    const [fd = -1, ...more] = link.callForFds(DEVICE_GET_REGION_INFO, 0);
    expect(more).toEqual([]);
    expect(fstat(fd).inode).toBe(fstat(event.fd).inode);
    closeFd(fd);
  });

  test('are closed when the reply refuses', () => {
    const before = openDescriptors(process.pid);
    server.send(reply(0, DEVICE_GET_REGION_INFO, [], 22), [event.fd]);
    link.begin();
    expect(() => link.callForFds(DEVICE_GET_REGION_INFO, 0)).toThrow(
      expect.objectContaining({ code: 'EINVAL' }),
    );
    expect(openDescriptors(process.pid)).toEqual(before);
  });

  test('are not lost when they belong to another reply that is awaited', async () => {
    const pending = link.request(VERSION, () => 0);
    await Promise.resolve();
    server.send(reply(0, VERSION, [1]), [event.fd]);
    server.send(reply(1, REGION_READ, [3]));
    expect(call(REGION_READ)).toEqual([3]);
    const { fds } = await pending;
    expect(fds).toHaveLength(1);
    for (const fd of fds) closeFd(fd);
  });

  test('are closed when they belong to an other call’s reply', async () => {
    const pending = link.request(VERSION, () => 0);
    await Promise.resolve();
    const before = openDescriptors(process.pid);
    server.send(reply(1, REGION_READ, [3]), [event.fd]);
    expect(call(REGION_READ)).toEqual([3]);
    expect(openDescriptors(process.pid)).toEqual(before);
    server.send(reply(0, VERSION, []));
    await pending;
  });
});

test('a reply to an asynchronous request comes though a synchronous call came before it', async () => {
  server.send(reply(0, REGION_READ, [3]));
  expect(call(REGION_READ)).toEqual([3]);
  const pending = link.request(VERSION, () => 0);
  server.send(reply(1, VERSION, [5]));
  expect([...(await pending).payload]).toEqual([5]);
});

test('a server that leaves after a synchronous call is noticed', async () => {
  server.send(reply(0, REGION_READ, [3]));
  expect(call(REGION_READ)).toEqual([3]);
  server.close();
  await expect.poll(() => link.lost?.code).toBe('ECONNRESET');
});
