/** VERSION: what the two sides tell each other first. */
import { expect, test } from 'vitest';
import { closeFd, pipe, waitHangUp } from '../../support/libc.ts';
import { ConnectionClosed, type Message, type RawClient } from '../../support/raw-client.ts';
import {
  CMD,
  FLAG,
  getInfo,
  getRegionInfo,
  join,
  message,
  text,
  u16,
  version,
} from '../../support/wire.ts';
import { conformance, expectNextClientServed, seeRegions } from './conformance.ts';
import {
  closeAll,
  expectSuccess,
  expectUsable,
  sendExpectingRefusalOrClose,
} from './expectations.ts';

interface Capabilities {
  readonly max_msg_fds?: unknown;
  readonly max_data_xfer_size?: unknown;
  readonly max_dma_maps?: unknown;
  readonly pgsizes?: unknown;
  readonly twin_socket?: { readonly supported?: unknown; readonly fd_index?: unknown };
  readonly write_multiple?: unknown;
}

/** The capabilities of a VERSION reply, whose text must be JSON that one NUL ends. */
function capabilitiesOf(reply: Message): Capabilities {
  const bytes = reply.payload.subarray(4);
  if (bytes.length === 0) return {};
  expect(bytes.indexOf(0)).toBe(bytes.length - 1);
  const value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.slice(0, -1)));
  return value.capabilities ?? {};
}

function negotiate(client: RawClient, payload: Uint8Array, id = 1): Message {
  return expectSuccess(client.call(CMD.VERSION, payload, { id }), CMD.VERSION);
}

const ALL_CAPABILITIES = {
  max_msg_fds: 8,
  max_data_xfer_size: 65536,
  max_dma_maps: 100,
  pgsizes: 4096,
  twin_socket: { supported: false },
  write_multiple: true,
};

conformance('NEG', (subject) => {
  test('NEG-01 0.1 without capabilities', () => {
    const client = subject.connect();
    const reply = negotiate(client, version(0, 1), 0x1234);
    expect(reply.id).toBe(0x1234);
    expect(reply.view.getUint16(0, true)).toBe(0);
    expect(reply.view.getUint16(2, true)).toBeLessThanOrEqual(1);
    capabilitiesOf(reply);
    expectUsable(client);
  });

  test('NEG-03 every documented capability', () => {
    const client = subject.connect();
    negotiate(client, version(0, 1, { capabilities: ALL_CAPABILITIES }));
    expectUsable(client);
  });

  test('NEG-04 unknown capabilities and keys are ignored', () => {
    const client = subject.connect();
    const data = { capabilities: { max_msg_fds: 8, blinkenlights: { n: 3 } }, extra: [1, null] };
    negotiate(client, version(0, 1, data));
    expectUsable(client);
  });

  test('NEG-06 minor 0 is answered with exactly 0.0', () => {
    const client = subject.connect();
    const reply = negotiate(client, version(0, 0, { capabilities: {} }));
    expect([...reply.payload.slice(0, 4)]).toEqual([0, 0, 0, 0]);
    expectUsable(client);
  });

  test('NEG-07 the reply’s capabilities have the documented types', () => {
    const client = subject.connect();
    const reply = negotiate(client, version(0, 1, { capabilities: ALL_CAPABILITIES }));
    const capabilities = capabilitiesOf(reply);
    const documented = Object.keys(ALL_CAPABILITIES);
    for (const name of Object.keys(capabilities)) expect(documented).toContain(name);
    for (const name of ['max_msg_fds', 'max_data_xfer_size', 'max_dma_maps', 'pgsizes'] as const) {
      const value = capabilities[name] ?? 1;
      expect(Number.isSafeInteger(value) && (value as number) > 0, name).toBe(true);
    }
    expect(['boolean', 'undefined']).toContain(typeof capabilities.write_multiple);
    expect(capabilities.twin_socket?.supported ?? false).toBe(false);
  });

  const first: ReadonlyArray<readonly [string, Uint8Array]> = [
    ['NEG-09 GET_INFO as the first command', message(CMD.DEVICE_GET_INFO, getInfo())],
    ['NEG-10 an unknown first command', message(999, new Uint8Array(8))],
    ['NEG-11 VERSION without payload', message(CMD.VERSION)],
    ['NEG-12 VERSION with 2 bytes', message(CMD.VERSION, u16(0))],
    ['NEG-15 VERSION as a reply', message(CMD.VERSION, version(0, 1), { flags: FLAG.REPLY })],
    ['NEG-16 text without NUL', message(CMD.VERSION, join(u16(0, 1), text('{}', false)))],
    ['NEG-16 a space for the NUL', message(CMD.VERSION, join(u16(0, 1), text('{} ', false)))],
    ['NEG-17 text that is no JSON: {', message(CMD.VERSION, version(0, 1, '{'))],
    ['NEG-18 text that is no JSON: "', message(CMD.VERSION, version(0, 1, '"'))],
  ];
  const wrongCapabilities: ReadonlyArray<readonly [string, object]> = [
    ['NEG-20 max_msg_fds is a string', { max_msg_fds: 'foo' }],
    ['NEG-21 max_msg_fds is negative', { max_msg_fds: -1 }],
    ['NEG-22 max_data_xfer_size is a string', { max_data_xfer_size: 'x' }],
    ['NEG-23 twin_socket is a number', { twin_socket: 1 }],
  ];
  const refused = [
    ...first,
    ...wrongCapabilities.map(
      ([name, capabilities]) =>
        [name, message(CMD.VERSION, version(0, 1, { capabilities }))] as const,
    ),
  ];
  test.each(refused)('%s is refused, the next client is served', (_name, bytes) => {
    sendExpectingRefusalOrClose(subject.connect(), bytes);
    expectNextClientServed(subject);
  });

  test('NEG-25 no twin socket unless asked for', () => {
    const reply = negotiate(subject.connect(), version(0, 1, { capabilities: {} }));
    expect(reply.fds).toEqual([]);
    expect(capabilitiesOf(reply).twin_socket?.supported ?? false).toBe(false);
  });

  test('NEG-26 a descriptor with VERSION is closed', () => {
    const client = subject.connect();
    const ends = pipe();
    client.send(message(CMD.VERSION, version(0, 1)), [ends.writeEnd]);
    closeFd(ends.writeEnd);
    try {
      client.receive();
    } catch (error) {
      expect(error).toBeInstanceOf(ConnectionClosed);
    }
    expect(waitHangUp(ends.readEnd, 2000)).toBe(true);
    closeFd(ends.readEnd);
    expectNextClientServed(subject);
  });

  const whole = message(CMD.VERSION, version(0, 1, { capabilities: {} }));
  test('NEG-28 connect and close', () => {
    for (let i = 0; i < 20; i++) subject.connect().close();
    expectNextClientServed(subject);
  });

  test('NEG-29 close inside the header, inside the body', () => {
    for (const cut of [1, 7, 15, 16, 18, whole.length - 1]) {
      const client = subject.connect();
      client.send(whole.subarray(0, cut));
      client.close();
      expectNextClientServed(subject);
    }
  });

  test('NEG-30 VERSION in four pieces', async () => {
    const client = subject.connect();
    for (const [from, to] of [
      [0, 5],
      [5, 16],
      [16, 19],
      [19, whole.length],
    ] as const) {
      client.send(whole.subarray(from, to));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expectSuccess(client.receive(), CMD.VERSION);
    expectUsable(client);
  });

  test('D-01 max_msg_fds 0: no reply carries a descriptor', () => {
    const client = subject.client({ max_msg_fds: 0 });
    for (const region of seeRegions(client)) {
      expect(region.descriptors).toBe(0);
      const command = CMD.DEVICE_GET_REGION_INFO;
      const short = expectSuccess(client.call(command, getRegionInfo(region.index, 32)), command);
      closeAll(short.fds);
      expect(short.fds).toEqual([]);
    }
    expectUsable(client);
  });
});
