/** What the way to a receiver carries, found out by filling it for a while. */
import { randomFillSync } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { Fault } from '../base/fault.ts';
import { ENCODING, encodeFrameHeader, FRAME_HEADER_SIZE, FRAME_TYPE } from './network-frame.ts';
import type { NetworkLink } from './network-link.ts';

/** Bytes of a FILL frame's payload; random, so that nothing on the way makes them smaller. */
const FILL_SIZE = 256 * 2 ** 10;
/** Bytes that are on their way at once, for each data connection. */
const FLYING_MAX = 8 * 2 ** 20;
/** A pause in which the sockets do their work. */
const TURN_MS = 1;
/** Frames that still are on their way must be in after this time. */
const LAST_MS = 5000;

/**
 * Fills the data connections for `ms` milliseconds, within the link's rate limit, and tells how many
 * bytes a second arrive.
 *
 * @throws {Fault} ETIMEDOUT when they do not arrive; what cut the link
 */
export async function measureBandwidth(link: NetworkLink, ms: number): Promise<number> {
  const payload = randomFillSync(new Uint8Array(FILL_SIZE));
  const crc = crc32(payload);
  let sent = 0;
  let arrived = 0;
  let firstAt = 0;
  let lastAt = 0;
  link.onFill = () => {
    lastAt = performance.now();
    if (arrived++ === 0) firstAt = lastAt;
  };
  const send = () => {
    const most = (FLYING_MAX * link.data.length) / FILL_SIZE;
    for (const connection of link.data)
      while (sent - arrived < most && connection.pending < FILL_SIZE) {
        if ((link.limit?.waitMs() ?? 0) > 0) return;
        const head = new Uint8Array(FRAME_HEADER_SIZE);
        const length = FILL_SIZE;
        encodeFrameHeader(
          {
            type: FRAME_TYPE.FILL,
            encoding: ENCODING.RAW,
            file: 0,
            length,
            rawLength: length,
            offset: sent,
            crc,
          },
          head,
        );
        connection.send(head);
        connection.send(payload);
        link.limit?.spend(FRAME_HEADER_SIZE + length);
        sent++;
      }
  };
  const { resumptions } = link;
  for (const until = performance.now() + ms; performance.now() < until; await sleep(TURN_MS))
    send();
  for (const until = performance.now() + LAST_MS; arrived < sent; await sleep(TURN_MS)) {
    if (link.resumptions !== resumptions)
      throw new Fault('ECONNRESET', 'the connection was cut while it was measured');
    if (performance.now() > until) throw new Fault('ETIMEDOUT', 'the receiver does not keep up');
  }
  // The first frame only begins the time; what came after it took it.
  if (arrived < 2 || lastAt <= firstAt)
    throw new Fault('ETIMEDOUT', 'too little went through to measure it', {
      hint: 'measure for longer',
    });
  return Math.round(((arrived - 1) * FILL_SIZE * 1000) / (lastAt - firstAt));
}
