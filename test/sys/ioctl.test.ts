import { describe, expect, it } from 'vitest';
import { IoctlArgument, ioctl, ioctlInBackground } from '../../src/sys/ioctl.ts';
import { Memfd } from '../../src/sys/memfd.ts';
import { UnixSocket } from '../../src/sys/unix-socket.ts';

/** How many bytes there are to read, on anything that is a stream. */
const FIONREAD = 0x541b;

/** A socket with `bytes` bytes to read, for the time of `run`. */
async function withBytes(bytes: number, run: (fd: number) => void | Promise<void>): Promise<void> {
  const [near, far] = UnixSocket.pair();
  try {
    far.send(new Uint8Array(bytes));
    await run(near.fd);
  } finally {
    near.close();
    far.close();
  }
}

describe('ioctl', () => {
  it('lets a driver fill a structure', () =>
    withBytes(5, (fd) => {
      using argument = new IoctlArgument(4);
      expect(ioctl(fd, FIONREAD, argument.address, 'count bytes')).toBe(0);
      expect(argument.view.getInt32(0, true)).toBe(5);
      expect([...argument.bytes]).toEqual([5, 0, 0, 0]);
    }));

  it('does so on another thread', () =>
    withBytes(7, async (fd) => {
      using argument = new IoctlArgument(4);
      const asked = ioctlInBackground(fd, FIONREAD, argument.address, 'count bytes');
      expect(await asked).toBe(0);
      expect(argument.view.getInt32(0, true)).toBe(7);
    }));

  it('gives the errno of what failed, on either thread', async () => {
    using memfd = Memfd.create('no driver', 4096);
    expect(() => ioctl(memfd.fd, 0x3b64, 0, 'ask a memfd')).toThrow(
      expect.objectContaining({ code: 'ENOTTY', message: 'ask a memfd: ENOTTY' }),
    );
    const failed = await Promise.allSettled([
      ioctlInBackground(memfd.fd, 0x3b64, 0, 'ask a memfd'),
      ioctlInBackground(-1, 0x3b64, 0, 'ask nobody'),
      ioctlInBackground(memfd.fd, 0x3b65, 0, 'ask a memfd'),
    ]);
    expect(failed.map((each) => (each as PromiseRejectedResult).reason.code)).toEqual([
      ...['ENOTTY', 'EBADF', 'ENOTTY'],
    ]);
  });
});
