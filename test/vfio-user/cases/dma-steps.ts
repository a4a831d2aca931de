/** Steps that the DMA cases share. */
import { expect } from 'vitest';
import { addSeals, F_SEAL, memFd } from '../../support/libc.ts';
import type { Message, RawClient } from '../../support/raw-client.ts';
import { CMD, dmaMap, dmaUnmap, u64 } from '../../support/wire.ts';
import { expectSuccess } from './expectations.ts';

const MAP = CMD.DMA_MAP;
const UNMAP = CMD.DMA_UNMAP;
/** Bytes of a page. */
export const PAGE = 4096;
/** Where most cases map. */
export const BASE = 0x10_0000;

/** Guest memory as a careful VMM offers it: it cannot shrink under the server. */
export function guestMemory(size: number): number {
  const fd = memFd(size);
  expect(addSeals(fd, F_SEAL.SHRINK | F_SEAL.GROW)).toBe(true);
  return fd;
}

/** One DMA_MAP. */
export function map(
  client: RawClient,
  iova: number,
  size: number,
  fd?: number,
  flags = 3,
): Message {
  return client.call(MAP, dmaMap(iova, size, { flags }), { fds: fd === undefined ? [] : [fd] });
}

/** One DMA_UNMAP. */
export function unmap(client: RawClient, iova: number, size: number): Message {
  return client.call(UNMAP, dmaUnmap(iova, size));
}

/** A map that was taken. */
export function expectMapped(reply: Message): void {
  expectSuccess(reply, MAP, 0);
}

/** A map that was given back; the reply names it. */
export function expectUnmapped(reply: Message, iova: number, size: number): void {
  expectSuccess(reply, UNMAP, 24);
  expect(reply.payload.slice(8)).toEqual(u64(iova, size));
}
