import { connect } from 'node:net';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeMessage, FRAME_TYPE } from '../../../src/migration/network-frame.ts';
import { encodeHello, encodeJson } from '../../../src/migration/network-messages.ts';
import { TwoHosts } from './two-hosts.ts';

const HELLO = encodeMessage(
  FRAME_TYPE.HELLO,
  0,
  encodeHello({ kind: 'check', streams: 1, token: undefined, to: undefined, profile: undefined }),
);

const request = fc
  .record({
    op: fc.constantFrom('set', 'state', 'reset', 'other'),
    state: fc.integer({ min: -1, max: 9 }),
    dataEnd: fc.integer({ min: -1, max: 100 }),
  })
  .map((value) => encodeJson(value));

const frame = fc
  .tuple(
    fc.constantFrom(...Object.values(FRAME_TYPE)),
    fc.nat({ max: 3 }),
    fc.oneof(fc.uint8Array({ maxLength: 40 }), request),
  )
  .map(([type, offset, payload]) => encodeMessage(type, offset, payload));

/** Sends bytes as a stranger, and waits until the receiver has had enough or has taken them. */
async function send(port: number, bytes: Uint8Array): Promise<void> {
  await new Promise<void>((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' }, () => socket.end(bytes));
    socket.on('error', () => {});
    socket.on('close', () => resolve());
    socket.resume();
  });
}

test('whatever a stranger sends, the target stays as it is and the receiver usable', async () => {
  const pair = await TwoHosts.start(new Uint8Array(5000).fill(7));
  try {
    await fc.assert(
      fc.asyncProperty(
        fc.boolean(),
        fc.array(fc.oneof(frame, fc.uint8Array({ maxLength: 60 })), { maxLength: 6 }),
        async (greets, parts) => {
          await send(pair.port, Buffer.concat([...(greets ? [HELLO] : []), ...parts]));
          expect(pair.target.calls).toEqual([]);
        },
      ),
      { numRuns: 60 },
    );
    const ended = await pair.move();
    expect(ended.source).toHaveProperty('value');
    expect(pair.target.content).toHaveLength(5000);
  } finally {
    pair.close();
  }
});
