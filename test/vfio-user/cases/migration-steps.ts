/** Steps that the migration cases share. */
import { expect } from 'vitest';
import type { Message, RawClient } from '../../support/raw-client.ts';
import { CMD, migRead, migWrite, STATE, type StateName, setState } from '../../support/wire.ts';
import { enterState, seeState } from './conformance.ts';
import { expectSuccess } from './expectations.ts';

const READ = CMD.MIG_DATA_READ;
const WRITE = CMD.MIG_DATA_WRITE;
/** Default of max_data_xfer_size. */
export const MAX = 2 ** 20;
const { STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P } = STATE;

/** The flags that a state needs: STOP_COPY 1, P2P 2, PRE_COPY 4. */
const NEEDS: ReadonlyMap<number, number> = new Map([
  [STOP, 1],
  [RUNNING, 1],
  [STOP_COPY, 1],
  [RESUMING, 1],
  [RUNNING_P2P, 3],
  [PRE_COPY, 5],
  [PRE_COPY_P2P, 7],
]);
/** Every state but ERROR. */
export const STATES = [STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P];

/** The name of a state. */
export function nameOf(state: number): StateName {
  return (Object.keys(STATE) as StateName[])[state] ?? 'ERROR';
}

/** True when a device with these migration flags has the state. */
export function exists(state: number, flags: number): boolean {
  const needs = NEEDS.get(state) ?? Number.NaN;
  return (flags & needs) === needs;
}

/** The table of legal arcs: everything between states that exist, but STOP_COPY to pre-copy. */
export function isLegal(from: number, to: number, flags: number): boolean {
  if (!exists(from, flags) || !exists(to, flags)) return false;
  return !(from === STOP_COPY && (to === PRE_COPY || to === PRE_COPY_P2P));
}

/** One MIG_DATA_READ, and what it must keep to. */
export function readData(client: RawClient, size: number): Uint8Array {
  const reply = expectSuccess(client.call(READ, migRead(size)), READ);
  const got = reply.view.getUint32(4, true);
  expect(got).toBeLessThanOrEqual(size);
  expect(reply.payload.length, 'no padding').toBe(8 + got);
  expect(reply.view.getUint32(0, true)).toBe(8 + got);
  return reply.payload.slice(8);
}

/** Reads the stream of STOP_COPY to its end. */
export function readStream(client: RawClient, size = MAX): Buffer {
  const parts: Uint8Array[] = [];
  for (;;) {
    const part = readData(client, size);
    parts.push(part);
    if (part.length < size) break;
  }
  expect(readData(client, size), 'a read after the end').toEqual(new Uint8Array(0));
  return Buffer.concat(parts);
}

/** One MIG_DATA_WRITE. */
export function writeData(client: RawClient, data: Uint8Array): Message {
  return client.call(WRITE, migWrite(data));
}

/** Writes a stream in messages of the greatest size. */
export function writeStream(client: RawClient, stream: Uint8Array): void {
  for (let at = 0; at < stream.length; at += MAX)
    expectSuccess(writeData(client, stream.subarray(at, at + MAX)), WRITE, 0);
}

/** Asks for a state. */
export function set(client: RawClient, state: number): Message {
  return client.call(CMD.DEVICE_FEATURE, setState(state));
}

/** A stream that the device takes: the one that it saves. Leaves the device in STOP. */
export function saveStream(client: RawClient): Buffer {
  enterState(client, STOP_COPY);
  const stream = readStream(client);
  enterState(client, STOP);
  return stream;
}

/** From a fresh device to `state`; a loading state has its stream already. */
export function prepare(client: RawClient, state: number): void {
  if (state === RESUMING) {
    const stream = saveStream(client);
    enterState(client, RESUMING);
    writeStream(client, stream);
  } else if (state !== RUNNING) {
    enterState(client, state);
  }
  expect(nameOf(seeState(client))).toBe(nameOf(state));
}
