import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { closeFd } from '../../src/sys/descriptor.ts';
import { EventFd } from '../../src/sys/eventfd.ts';
import { POLL, pollOne } from '../../src/sys/poll.ts';
import { MSG } from '../../src/sys/socket-io.ts';
import { UnixSocket } from '../../src/sys/unix-socket.ts';
import { Channel } from '../../src/vfio-user/channel.ts';

/** A message of `size` bytes whose payload is its number. */
function message(number: number, size = 16): Uint8Array {
  const bytes = new Uint8Array(size).fill(number, 16);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, number, true);
  view.setUint32(4, size, true);
  return bytes;
}

describe('Channel', () => {
  let peer: UnixSocket;
  let mine: UnixSocket;
  let channel: Channel;
  let event: EventFd;

  beforeEach(() => {
    [peer, mine] = UnixSocket.pair();
    channel = new Channel(mine.fd, 4096);
    event = new EventFd();
  });
  afterEach(() => {
    channel.close();
    for (const end of [peer, mine, event]) end.close();
  });

  function fill(): number {
    return channel.fill(MSG.DONTWAIT);
  }

  /** Takes the message at the head. @returns its number and how many descriptors it had */
  function take(): [number, number] {
    const size = channel.rxView.getUint32(channel.head + 4, true);
    const number = channel.rxView.getUint16(channel.head, true);
    const fds = channel.takeFds(size);
    for (const fd of fds) closeFd(fd);
    channel.head += size;
    return [number, fds.length];
  }

  test('several messages in one receive, and a part of the next', () => {
    peer.send(Buffer.concat([message(1), message(2, 40), message(3).subarray(0, 10)]));
    expect(fill()).toBe(66);
    expect([take(), take()]).toEqual([
      [1, 0],
      [2, 0],
    ]);
    expect(channel.available).toBe(10);
    peer.send(message(3).subarray(10));
    expect(fill()).toBe(6);
    expect(take()).toEqual([3, 0]);
    expect(fill()).toBe(-11);
  });

  test('descriptors find the message that they were sent with', () => {
    peer.send(message(1));
    peer.send(message(2, 48), [event.fd]);
    peer.send(message(3), [event.fd, event.fd]);
    expect(fill()).toBe(64);
    expect(fill()).toBe(16);
    expect([take(), take(), take()]).toEqual([
      [1, 0],
      [2, 1],
      [3, 2],
    ]);
  });

  test('descriptors with the rest of a message belong to that message', () => {
    peer.send(message(1, 32).subarray(0, 20));
    expect(fill()).toBe(20);
    peer.send(message(1, 32).subarray(20), [event.fd]);
    peer.send(message(2));
    expect(fill()).toBe(12);
    expect(fill()).toBe(16);
    expect([take(), take()]).toEqual([
      [1, 1],
      [2, 0],
    ]);
  });

  test('moving what is here to the front keeps descriptors with their message', () => {
    peer.send(message(1, 100));
    fill();
    peer.send(message(2, 50), [event.fd]);
    fill();
    take();
    channel.compact();
    expect(channel.head).toBe(0);
    expect(take()).toEqual([2, 1]);
  });

  test('a reply is cut out from between commands, with its descriptors', () => {
    peer.send(message(1, 20));
    fill();
    peer.send(message(2, 30), [event.fd]);
    fill();
    peer.send(message(3, 40), [event.fd, event.fd]);
    fill();
    channel.cut(20, 30);
    expect([take(), take()]).toEqual([
      [1, 0],
      [3, 2],
    ]);
  });

  test('descriptors that nobody took are closed with the channel', () => {
    const [left, right] = UnixSocket.pair();
    peer.send(message(1), [right.fd]);
    right.close();
    fill();
    expect(pollOne(left.fd, POLL.IN, 0)).toBe(0);
    channel.close();
    expect(pollOne(left.fd, POLL.IN, 0) & POLL.HUP).toBe(POLL.HUP);
    left.close();
  });

  test('any way to cut a stream into sends gives the same messages', () => {
    const messages = fc.array(fc.integer({ min: 16, max: 300 }), { minLength: 1, maxLength: 20 });
    const cuts = fc.array(fc.integer({ min: 1, max: 500 }), { maxLength: 40 });
    fc.assert(
      fc.property(messages, cuts, (sizes, pieces) => {
        const stream = Buffer.concat(sizes.map((size, index) => message(index + 1, size)));
        const seen: number[] = [];
        let sent = 0;
        for (const piece of [...pieces, stream.length]) {
          if (sent < stream.length) peer.send(stream.subarray(sent, sent + piece));
          sent += piece;
          while (fill() > 0) {
            while (channel.available >= 16) {
              const size = channel.rxView.getUint32(channel.head + 4, true);
              if (size > channel.available) break;
              seen.push(take()[0]);
            }
            if (channel.tail === channel.rx.length) channel.compact();
          }
        }
        expect(seen).toEqual(sizes.map((_, index) => index + 1));
        expect(channel.available).toBe(0);
      }),
      { numRuns: 60 },
    );
  });
});
