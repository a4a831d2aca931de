/**
 * Hostile input: live servers get 130,000 messages, good, bad and broken, in bulk, with and without
 * descriptors. It must answer each sound one, in order, never accept a bad one, survive
 * the rest, and at the end hold nothing that it did not hold before.
 */
import { openSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  addSeals,
  closeFd,
  eventFd,
  F_SEAL,
  memFd,
  pipe,
  receiveOnce,
  SystemError,
  sendOnce,
  waitReadable,
} from '../support/libc.ts';
import { PATIENCE_MS, RawClient } from '../support/raw-client.ts';
import { sleepSync } from '../support/serving.ts';
import {
  CMD,
  FLAG,
  HEADER_SIZE,
  join,
  message,
  STATE,
  text,
  u16,
  version,
} from '../support/wire.ts';
import { CONFIG, read, SERVER_KINDS, Subject, seeRegions, seeState } from './cases/conformance.ts';
import { expectSuccess } from './cases/expectations.ts';
import { Chance, nextShot, nextWreck, type Shot } from './fuzz-messages.ts';

/** How many for a kind of server: those with a GPU behind them take longer for a reset. */
function amounts(steerable: boolean): { sound: number; wrecks: number; greetings: number } {
  return steerable
    ? { sound: 80_000, wrecks: 600, greetings: 400 }
    : { sound: 15_000, wrecks: 300, greetings: 200 };
}

/**
 * Mappings that V8's heap and threads may add while a server works hard: fewer than the connections of
 * any one test, each of which would leave at least one.
 */
const MAPPINGS_OF_THE_RUNTIME = 190;
const BATCH = 64;
const CONNECTION = 1500;
const TRANSFER = 1 << 20;

/** Everything that came on a socket, cut into messages. */
class Inbox {
  readonly #fd: number;
  #bytes: Uint8Array = new Uint8Array(0);
  closed = false;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Takes what is there, without waiting. */
  take(): void {
    while (!this.closed) {
      try {
        const got = receiveOnce(this.#fd, TRANSFER);
        if (got === undefined) return;
        for (const fd of got.fds) closeFd(fd);
        if (got.bytes.length === 0) this.closed = true;
        this.#bytes = join(this.#bytes, got.bytes);
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
        this.closed = true;
      }
    }
  }

  /** The next whole message: its header and size. */
  next(): { id: number; command: number; flags: number; error: number; size: number } | undefined {
    if (this.#bytes.length < HEADER_SIZE) return undefined;
    const view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset);
    const size = view.getUint32(4, true);
    expect(size).toBeGreaterThanOrEqual(HEADER_SIZE);
    expect(size).toBeLessThan(2 * TRANSFER);
    if (this.#bytes.length < size) return undefined;
    const reply = {
      id: view.getUint16(0, true),
      command: view.getUint16(2, true),
      flags: view.getUint32(8, true),
      error: view.getUint32(12, true),
      size,
    };
    this.#bytes = this.#bytes.subarray(size);
    return reply;
  }

  /** The next whole message, waited for; undefined when the server closed instead. */
  wait(): ReturnType<Inbox['next']> {
    for (;;) {
      const reply = this.next();
      if (reply !== undefined) return reply;
      if (this.closed) return undefined;
      if (!waitReadable(this.#fd, PATIENCE_MS)) throw new Error('the server does not answer');
      this.take();
    }
  }
}

/** Sends all of it while taking what comes back, so that neither side waits for the other. */
function sendAll(client: RawClient, inbox: Inbox, bytes: Uint8Array, fds: number[] = []): void {
  let rights: readonly number[] = fds;
  for (let at = 0; at < bytes.length && !inbox.closed; ) {
    try {
      const sent = sendOnce(client.fd, bytes.subarray(at), rights);
      if (sent > 0) rights = [];
      else sleepSync(0.2);
      at += sent;
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      inbox.take();
      inbox.closed = true;
    }
    inbox.take();
  }
}

/** A refusal is a bare header with the error flag; anything else must be a success. */
function expectSound(reply: NonNullable<ReturnType<Inbox['next']>>): void {
  if (reply.flags === (FLAG.REPLY | FLAG.ERROR)) expect(reply.size).toBe(HEADER_SIZE);
  else expect({ flags: reply.flags, error: reply.error }).toEqual({ flags: FLAG.REPLY, error: 0 });
}

function expectAnswer(shot: Shot, reply: ReturnType<Inbox['next']>): void {
  const what = () => `${shot.verdict} ${Buffer.from(shot.bytes.subarray(0, 80)).toString('hex')}`;
  if (reply === undefined) throw new Error(`closed instead of an answer to ${what()}`);
  if (reply.id !== shot.id || reply.command !== shot.command)
    throw new Error(`${reply.command}/${reply.id} answers ${shot.command}/${shot.id} ${what()}`);
  expectSound(reply);
  const refused = (reply.flags & FLAG.ERROR) !== 0;
  if (shot.verdict === 'refused' && !refused) throw new Error(`accepted: ${what()}`);
  if (shot.verdict === 'served' && refused)
    throw new Error(`refused with ${reply.error}: ${what()}`);
}

/** Descriptors of every sort that a client could send. */
function someDescriptors(): readonly number[] {
  const sealed = memFd(1 << 16);
  addSeals(sealed, F_SEAL.SHRINK | F_SEAL.GROW);
  const ends = pipe();
  return [
    sealed,
    sealed,
    memFd(1 << 16),
    memFd(0),
    eventFd(),
    eventFd(),
    ends.readEnd,
    ends.writeEnd,
    openSync('/dev/null', 'r'),
    openSync('/', 'r'),
    openSync(`/proc/self/fd/${sealed}`, 'r'),
  ];
}

const DEVICES = [{ steerable: false }];

describe.each(SERVER_KINDS)('hostile input to $name', (kind) => {
  const amount = amounts(kind.steerable);
  const subject = new Subject(kind, kind.steerable ? DEVICES : undefined);
  let descriptors: readonly number[] = [];
  let identity: Uint8Array;
  let sizes: readonly number[] = [];
  let mappings = 0;

  beforeAll(async () => {
    descriptors = someDescriptors();
    await subject.start();
    const client = subject.client();
    identity = read(client, CONFIG, 0, 4);
    sizes = seeRegions(client).map((region) => region.size);
    subject.leave();
    mappings = subject.serving.mappings();
  });
  afterEach(() => {
    // The device is still itself, and the migration state leads back to RUNNING.
    subject.settle();
    const client = subject.client();
    expect(read(client, CONFIG, 0, 4)).toEqual(identity);
    expect(seeRegions(client).map((region) => region.size)).toEqual(sizes);
    expect(seeState(client)).toBe(STATE.RUNNING);
    subject.leave();
    // The buffers of every connection are gone; the runtime's own heap may have grown.
    expect(subject.serving.mappings() - mappings).toBeLessThan(MAPPINGS_OF_THE_RUNTIME);
  });
  afterAll(async () => {
    await subject.stop();
    for (const fd of new Set(descriptors)) closeFd(fd);
  });

  test(`${amount.sound} messages in sound frames, each answered in its turn`, () => {
    const chance = new Chance(0x5eed_0001);
    for (let sent = 0; sent < amount.sound; ) {
      const client = subject.client({ max_msg_fds: 16, write_multiple: true });
      const inbox = new Inbox(client.fd);
      for (let round = 0; round < CONNECTION; round += BATCH) {
        const shots = Array.from({ length: BATCH }, () => nextShot(chance, descriptors.length));
        sent += BATCH;
        let run: Uint8Array[] = [];
        const flush = () => {
          if (run.length > 0) sendAll(client, inbox, join(...run));
          run = [];
        };
        for (const shot of shots) {
          if (shot.fds.length === 0) run.push(shot.bytes);
          else {
            flush();
            const fds = shot.fds.map((at) => descriptors[at] ?? -1);
            sendAll(client, inbox, shot.bytes, fds);
          }
        }
        flush();
        for (const shot of shots) if (shot.answered) expectAnswer(shot, inbox.wait());
        expect(inbox.next(), 'an answer that nobody asked for').toBeUndefined();
      }
      subject.leave();
    }
  });

  test(`${amount.wrecks} connections that end in broken frames`, () => {
    const chance = new Chance(0x5eed_0002);
    for (let i = 0; i < amount.wrecks; i++) {
      const client = subject.client();
      const inbox = new Inbox(client.fd);
      const before = Array.from({ length: 16 }, () => nextShot(chance, 1));
      const wreck = nextWreck(chance);
      const fds = chance.oneIn(4) ? [chance.pick(descriptors)] : [];
      sendAll(client, inbox, join(...before.map((shot) => shot.bytes)));
      for (const shot of before) if (shot.answered) expectAnswer(shot, inbox.wait());
      sendAll(client, inbox, wreck, fds);
      if (chance.oneIn(3)) {
        client.close();
        continue;
      }
      if (!inbox.closed) client.shutdownWrite();
      for (let reply = inbox.wait(); reply !== undefined; reply = inbox.wait())
        if ((reply.flags & FLAG.REPLY) !== 0) expectSound(reply);
      client.close();
    }
  });

  test(`${amount.greetings} connections that begin badly`, () => {
    const chance = new Chance(0x5eed_0003);
    const json = JSON.stringify({ capabilities: { max_msg_fds: 1, pgsizes: 4096 } });
    for (let i = 0; i < amount.greetings; i++) {
      const client = subject.connect();
      const inbox = new Inbox(client.fd);
      const broken = text(json);
      broken[chance.below(json.length)] = chance.pick([0, 1, 0x80, 0xff]);
      const greeting = chance.pick([
        () => chance.bytes(16 + chance.below(64)),
        () => nextShot(chance, 1).bytes,
        () => message(CMD.VERSION, version(1 + chance.below(9), 0)),
        () => message(CMD.VERSION, join(u16(0, 1), broken)),
        () => message(CMD.VERSION, join(u16(0, 1), text(json, false))),
        () => message(CMD.VERSION, chance.bytes(chance.below(4))),
      ])();
      sendAll(client, inbox, greeting, chance.oneIn(4) ? [chance.pick(descriptors)] : []);
      if (!inbox.closed) client.shutdownWrite();
      for (let reply = inbox.wait(); reply !== undefined; reply = inbox.wait())
        expect(reply.flags, Buffer.from(greeting).toString('hex')).toBe(FLAG.REPLY | FLAG.ERROR);
      client.close();
    }
    using client = RawClient.connect(subject.serving.path());
    expectSuccess(client.call(CMD.VERSION, version(0, 1)), CMD.VERSION);
  });
});
