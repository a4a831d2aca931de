import { closeSync, openSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { scratchPage, setBlocking } from '../../src/sys/descriptor.ts';
import { EventFd, foreignEventFds } from '../../src/sys/eventfd.ts';
import { libc } from '../../src/sys/libc.ts';

describe('eventfds', () => {
  it('are told from other descriptors', () => {
    using event = new EventFd();
    const file = openSync('/dev/null', 'r');
    expect(foreignEventFds.isEventFd(event.fd)).toBe(true);
    expect(foreignEventFds.isEventFd(file)).toBe(false);
    closeSync(file);
    expect(foreignEventFds.isEventFd(file)).toBe(false);
    expect(foreignEventFds.isEventFd(-1)).toBe(false);
  });

  it('count signals', () => {
    using event = new EventFd();
    foreignEventFds.signal(event.fd);
    foreignEventFds.signal(event.fd);
    expect(event.take()).toBe(2);
  });

  it('that are blocking and full do not hold the one who signals them', () => {
    using event = new EventFd();
    const { address, view } = scratchPage();
    view.setBigUint64(0, 2n ** 64n - 2n, true);
    expect(libc.write(event.fd, address, 8)).toBe(8);
    setBlocking(event.fd, true);
    foreignEventFds.signal(event.fd);
    setBlocking(event.fd, false);
    expect(event.take()).toBe(2 ** 64 - 2);
  });

  it('that are closed do no harm', () => {
    const event = new EventFd();
    const { fd } = event;
    foreignEventFds.close(fd);
    expect(foreignEventFds.isEventFd(fd)).toBe(false);
    expect(() => foreignEventFds.signal(fd)).not.toThrow();
    expect(() => foreignEventFds.close(fd)).not.toThrow();
  });
});
