import { closeSync, openSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { EventFd } from '../../src/sys/eventfd.ts';
import { nodeEventFds } from '../../src/vfio-pci/event-fd.ts';

describe('eventfds', () => {
  it('are told from other descriptors', () => {
    using event = new EventFd();
    const file = openSync('/dev/null', 'r');
    expect(nodeEventFds.isEventFd(event.fd)).toBe(true);
    expect(nodeEventFds.isEventFd(file)).toBe(false);
    closeSync(file);
    expect(nodeEventFds.isEventFd(file)).toBe(false);
    expect(nodeEventFds.isEventFd(-1)).toBe(false);
  });

  it('count signals', () => {
    using event = new EventFd();
    nodeEventFds.signal(event.fd);
    nodeEventFds.signal(event.fd);
    expect(event.take()).toBe(2);
  });

  it('that are closed do no harm', () => {
    const event = new EventFd();
    const { fd } = event;
    nodeEventFds.close(fd);
    expect(nodeEventFds.isEventFd(fd)).toBe(false);
    expect(() => nodeEventFds.signal(fd)).not.toThrow();
    expect(() => nodeEventFds.close(fd)).not.toThrow();
  });
});
