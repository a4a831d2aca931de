/** What a case may expect of an answer. */
import { expect } from 'vitest';
import { closeFd } from '../../support/libc.ts';
import { ConnectionClosed, type Message, type RawClient } from '../../support/raw-client.ts';
import { CMD, E, FLAG, getInfo, HEADER_SIZE } from '../../support/wire.ts';

/** A reply without error: flags exactly 1, error 0, the size of its payload. */
export function expectSuccess(reply: Message, command: number, payloadSize?: number): Message {
  expect({ command: reply.command, flags: reply.flags, error: reply.error }).toEqual({
    command,
    flags: FLAG.REPLY,
    error: 0,
  });
  expect(reply.size).toBe(HEADER_SIZE + reply.payload.length);
  if (payloadSize !== undefined) expect(reply.payload.length).toBe(payloadSize);
  return reply;
}

/**
 * An error reply: flags 0x21 and nothing after the header.
 * `errnos` are those allowed; none given: any but 0.
 */
export function expectRefusal(
  reply: Message,
  command: number,
  ...errnos: readonly number[]
): Message {
  expect({ command: reply.command, flags: reply.flags, size: reply.size }).toEqual({
    command,
    flags: FLAG.REPLY | FLAG.ERROR,
    size: HEADER_SIZE,
  });
  expect(reply.fds).toEqual([]);
  if (errnos.length === 0) expect(reply.error).not.toBe(0);
  else expect(errnos).toContain(reply.error);
  return reply;
}

/** EINVAL, as an error reply. */
export function expectInvalid(reply: Message, command: number): Message {
  return expectRefusal(reply, command, E.INVAL);
}

/** "refuse or close": an error reply or a closed connection; never silence, never success. */
export function expectRefusedOrClosed(client: RawClient): void {
  let reply: Message;
  try {
    reply = client.receive();
  } catch (error) {
    if (error instanceof ConnectionClosed) return;
    throw error;
  }
  expect(reply.flags).toBe(FLAG.REPLY | FLAG.ERROR);
  expect(reply.size).toBe(HEADER_SIZE);
}

/** Sends, and expects "refuse or close"; the server may close before it took all bytes. */
export function sendExpectingRefusalOrClose(
  client: RawClient,
  bytes: Uint8Array,
  fds: readonly number[] = [],
): void {
  try {
    client.send(bytes, fds);
  } catch (error) {
    if (error instanceof ConnectionClosed) return;
    throw error;
  }
  expectRefusedOrClosed(client);
}

/** The connection still serves. */
export function expectUsable(client: RawClient): void {
  expectSuccess(client.call(CMD.DEVICE_GET_INFO, getInfo()), CMD.DEVICE_GET_INFO, 16);
}

/** Closes the descriptors that came with a message. */
export function closeAll(fds: readonly number[]): void {
  for (const fd of fds) closeFd(fd);
}
