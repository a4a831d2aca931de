/**
 * The frame of the conformance suite: each section is a list of cases that runs against every kind
 * of server. All that a case knows of the server is its socket and what /proc shows of its process.
 */
import { afterAll, afterEach, beforeAll, describe, expect } from 'vitest';
import { BAR0, type CaseDeviceOptions } from '../../support/case-registers.ts';
import { ConnectionClosed, type Message, RawClient } from '../../support/raw-client.ts';
import { eventually, Footprint, Serving, type ServingOptions } from '../../support/serving.ts';
import {
  CMD,
  FEATURE,
  FEATURE_OP,
  feature,
  getInfo,
  getIrqInfo,
  getRegionInfo,
  getState,
  regionRead,
  regionWrite,
  setState,
  u32,
} from '../../support/wire.ts';
import { closeAll, expectSuccess } from './expectations.ts';

/** A kind of server that the suite runs against. */
export interface ServerKind {
  readonly name: string;
  /** True when BAR0 has the registers of the conformance device. */
  readonly steerable: boolean;
  start(devices?: readonly CaseDeviceOptions[]): Promise<Serving>;
}

function kind(device: ServingOptions['device'], name: string): ServerKind {
  return {
    name,
    steerable: device === 'case',
    start: (devices) => Serving.start(devices ? { device, devices } : { device }),
  };
}

/** The server around the conformance device. */
export const CASE_DEVICE = kind('case', 'the conformance device');
/** Every kind of server. */
export const SERVER_KINDS: readonly ServerKind[] = [
  CASE_DEVICE,
  kind('ptl', 'an emulated Panther Lake VF'),
  kind('bmg', 'an emulated Battlemage VF'),
];

/** The 256 or 4096 bytes of configuration space. */
export const CONFIG = 7;
/** The only register of configuration space that every PCI function keeps for software. */
export const INTERRUPT_LINE = 0x3c;

/** The server under test as the cases of one section see it. */
export class Subject {
  readonly kind: ServerKind;
  readonly #devices: readonly CaseDeviceOptions[] | undefined;
  #serving: Serving | undefined;
  /** What the server holds while nobody is connected. */
  #idle: Footprint | undefined;
  readonly #clients: RawClient[] = [];

  constructor(serverKind: ServerKind, devices?: readonly CaseDeviceOptions[]) {
    this.kind = serverKind;
    this.#devices = devices;
  }

  /** Starts the server; a first client makes it open what it opens only when asked. */
  async start(): Promise<void> {
    this.#serving = await this.kind.start(this.#devices);
    const sockets = () => this.serving.descriptors().get('socket');
    const before = sockets();
    seeRegions(this.client());
    this.leave();
    expect(eventually(() => sockets() === before)).toBe(true);
    this.#idle = new Footprint(this.serving);
  }

  get serving(): Serving {
    if (this.#serving === undefined) throw new Error('the server is not running');
    return this.#serving;
  }

  /** A connection that has sent nothing yet; closed after the test. */
  connect(device = 0): RawClient {
    const client = RawClient.connect(this.serving.path(device));
    this.#clients.push(client);
    return client;
  }

  /** A negotiated connection; closed after the test. */
  client(capabilities?: object, device = 0): RawClient {
    const client = RawClient.negotiate(this.serving.path(device), capabilities);
    this.#clients.push(client);
    return client;
  }

  /** A socket that the server handed out; closed after the test. */
  adopt(fd: number): RawClient {
    const client = new RawClient(fd);
    this.#clients.push(client);
    return client;
  }

  /** Closes every connection of the test. */
  leave(): void {
    for (const client of this.#clients.splice(0)) client.close();
  }

  /**
   * After any case: the server runs, serves the next client, the device is as new, and nothing that
   * a client brought is left in the process.
   */
  settle(): void {
    this.leave();
    expect(this.serving.alive(), this.serving.errorOutput).toBe(true);
    const client = RawClient.negotiate(this.serving.path());
    try {
      const info = expectSuccess(client.call(CMD.DEVICE_GET_INFO, getInfo()), CMD.DEVICE_GET_INFO);
      if ((info.view.getUint32(4, true) & 1) !== 0)
        expectSuccess(client.call(CMD.DEVICE_RESET), CMD.DEVICE_RESET, 0);
    } finally {
      client.close();
    }
    this.expectNothingLeft();
  }

  /** Nobody is connected, and the server holds what it held before the first client came. */
  expectNothingLeft(): void {
    expect(this.#idle?.growth()).toBeUndefined();
  }

  /** Stops the server, which must leave cleanly. */
  async stop(): Promise<void> {
    if (this.#serving === undefined) return;
    const serving = this.#serving;
    this.#serving = undefined;
    const code = await serving.stop();
    expect({ code, errorOutput: serving.errorOutput }).toEqual({ code: 0, errorOutput: '' });
  }
}

/** Runs `cases` against each kind of server, one server for the section. */
export function conformance(
  section: string,
  cases: (subject: Subject) => void,
  kinds: readonly ServerKind[] = SERVER_KINDS,
  devices?: readonly CaseDeviceOptions[],
): void {
  describe.each(kinds)(`${section} on $name`, (serverKind) => {
    const subject = new Subject(serverKind, devices);
    beforeAll(() => subject.start());
    afterEach(() => subject.settle());
    afterAll(() => subject.stop());
    cases(subject);
  });
}

/** Waits until the next client is served: the server may still be busy with the one that left. */
export function expectNextClientServed(subject: Subject): void {
  subject.leave();
  let failure: unknown;
  const served = eventually(() => {
    try {
      using client = RawClient.negotiate(subject.serving.path());
      expectSuccess(client.call(CMD.DEVICE_GET_INFO, getInfo()), CMD.DEVICE_GET_INFO, 16);
      return true;
    } catch (error) {
      if (!(error instanceof ConnectionClosed)) throw error;
      failure = error;
      return false;
    }
  });
  expect(served, String(failure)).toBe(true);
}

/** What GET_REGION_INFO with plenty of room says; its descriptors are closed. */
export interface SeenRegion {
  readonly index: number;
  readonly flags: number;
  readonly size: number;
  /** As the u64 that it is: a base before the start of its file wraps. */
  readonly offset: bigint;
  readonly argsz: number;
  readonly capOffset: number;
  readonly payload: Uint8Array;
  readonly descriptors: number;
}

/** Asks for one region. */
export function seeRegion(client: RawClient, index: number): SeenRegion {
  const command = CMD.DEVICE_GET_REGION_INFO;
  const reply = expectSuccess(client.call(command, getRegionInfo(index)), command);
  closeAll(reply.fds);
  return {
    index: reply.view.getUint32(8, true),
    argsz: reply.view.getUint32(0, true),
    flags: reply.view.getUint32(4, true),
    capOffset: reply.view.getUint32(12, true),
    size: Number(reply.view.getBigUint64(16, true)),
    offset: reply.view.getBigUint64(24, true),
    payload: reply.payload,
    descriptors: reply.fds.length,
  };
}

/** Counts of regions and interrupts, and the device flags. */
export function seeDevice(client: RawClient): { flags: number; regions: number; irqs: number } {
  const reply = expectSuccess(client.call(CMD.DEVICE_GET_INFO, getInfo()), CMD.DEVICE_GET_INFO, 16);
  return {
    flags: reply.view.getUint32(4, true),
    regions: reply.view.getUint32(8, true),
    irqs: reply.view.getUint32(12, true),
  };
}

/** Every region of the device. */
export function seeRegions(client: RawClient): readonly SeenRegion[] {
  const { regions } = seeDevice(client);
  return Array.from({ length: regions }, (_, index) => seeRegion(client, index));
}

/** Flags and count of an interrupt index. */
export function seeIrq(client: RawClient, index: number): { flags: number; count: number } {
  const command = CMD.DEVICE_GET_IRQ_INFO;
  const reply = expectSuccess(client.call(command, getIrqInfo(index)), command, 16);
  return { flags: reply.view.getUint32(4, true), count: reply.view.getUint32(12, true) };
}

/**
 * Sends the whole message, which is good, and then only the beginning of its payload: a server that
 * reads beyond a message finds there what came before, and all of it looks right.
 * @returns the answer to the short one
 */
export function callCutShort(
  client: RawClient,
  command: number,
  payload: Uint8Array,
  length: number,
): Message {
  closeAll(client.call(command, payload).fds);
  return client.call(command, payload.subarray(0, length));
}

/** Reads `count` bytes of a region. */
export function read(client: RawClient, region: number, offset: number, count: number): Uint8Array {
  const reply = client.call(CMD.REGION_READ, regionRead(region, offset, count));
  expectSuccess(reply, CMD.REGION_READ, 16 + count);
  return reply.payload.slice(16);
}

/** Reads a 32-bit register of a region. */
export function read32(client: RawClient, region: number, offset: number): number {
  return new DataView(read(client, region, offset, 4).buffer).getUint32(0, true);
}

/** Writes bytes to a region. */
export function write(
  client: RawClient,
  region: number,
  offset: number,
  bytes: Uint8Array | readonly number[],
): void {
  const reply = client.call(CMD.REGION_WRITE, regionWrite(region, offset, bytes));
  expectSuccess(reply, CMD.REGION_WRITE, 16);
}

/** Writes a 32-bit register of a region. */
export function write32(client: RawClient, region: number, offset: number, value: number): void {
  write(client, region, offset, u32(value));
}

/** Tells the conformance device to do something. @returns the errno it met, or 0 */
export function steer(client: RawClient, command: number, ...values: readonly number[]): number {
  for (const [i, value] of values.entries()) write32(client, 0, BAR0.ARG0 + 4 * i, value);
  write32(client, 0, BAR0.COMMAND, command);
  return read32(client, 0, BAR0.RESULT);
}

/** The migration state that the server reports. */
export function seeState(client: RawClient): number {
  const reply = expectSuccess(client.call(CMD.DEVICE_FEATURE, getState()), CMD.DEVICE_FEATURE, 16);
  return reply.view.getUint32(8, true);
}

/** Moves to a migration state that can be reached. */
export function enterState(client: RawClient, state: number): void {
  const reply = client.call(CMD.DEVICE_FEATURE, setState(state));
  expectSuccess(reply, CMD.DEVICE_FEATURE, 16);
}

/** VFIO_MIGRATION flags that the server announces; 0 when it has no migration. */
export function seeMigrationFlags(client: RawClient): number {
  const request = feature(FEATURE_OP.GET | FEATURE.MIGRATION, [], 16);
  const reply = client.call(CMD.DEVICE_FEATURE, request);
  return reply.error === 0 ? Number(reply.view.getBigUint64(8, true)) : 0;
}
