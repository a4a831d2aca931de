/** DEVICE_GET_IRQ_INFO and DEVICE_SET_IRQS. */
import { expect, test } from 'vitest';
import { COMMAND } from '../../support/case-registers.ts';
import { closeFd, eventFd, pipe, takeCounter, waitHangUp } from '../../support/libc.ts';
import type { Message, RawClient } from '../../support/raw-client.ts';
import { Footprint } from '../../support/serving.ts';
import { CMD, E, getIrqInfo, IRQ, type Piece, setIrqs } from '../../support/wire.ts';
import { CASE_DEVICE, callCutShort, conformance, seeDevice, seeIrq, steer } from './conformance.ts';
import { expectInvalid, expectRefusal, expectSuccess, expectUsable } from './expectations.ts';

const INFO = CMD.DEVICE_GET_IRQ_INFO;
const SET = CMD.DEVICE_SET_IRQS;
const INTX = 0;
const MSI = 1;
const ERR = 3;
const REQ = 4;
const MASKABLE = 2;
const AUTOMASKED = 4;
const TN = IRQ.TRIGGER | IRQ.NONE;
const TB = IRQ.TRIGGER | IRQ.BOOL;
const TE = IRQ.TRIGGER | IRQ.EVENTFD;

function set(
  client: RawClient,
  flags: number,
  index: number,
  start: number,
  count: number,
  options: { readonly data?: Piece; readonly fds?: readonly number[] } = {},
): Message {
  const payload = setIrqs(flags, index, start, count, options.data);
  return client.call(SET, payload, { fds: options.fds ?? [] });
}

/** The first index of message-signalled vectors. */
function messageIndex(client: RawClient): number {
  const { irqs } = seeDevice(client);
  for (let index = INTX + 1; index < irqs; index++)
    if (seeIrq(client, index).count > 0) return index;
  throw new Error('the device has no vectors');
}

/**
 * Four eventfds assigned to the first four vectors. A device that has fewer must refuse, which is
 * all that can be seen then: undefined.
 */
function assignFour(client: RawClient): { index: number; fds: readonly number[] } | undefined {
  const index = messageIndex(client);
  const fds = eventFds(4);
  const reply = set(client, TE, index, 0, 4, { fds });
  if (seeIrq(client, index).count >= 4) {
    expectSuccess(reply, SET, 0);
    return { index, fds };
  }
  expectInvalid(reply, SET);
  fds.forEach(closeFd);
  return undefined;
}

function eventFds(count: number): readonly number[] {
  return Array.from({ length: count }, () => eventFd());
}

function assign(client: RawClient, index: number, fds: readonly number[]): void {
  expectSuccess(set(client, TE, index, 0, fds.length, { fds }), SET, 0);
}

conformance('IRQ', (subject) => {
  test('IRQ-01 every index answers; INTx is maskable and masks itself', () => {
    const client = subject.client();
    const { irqs } = seeDevice(client);
    expect(irqs).toBe(5);
    for (let index = 0; index < irqs; index++) {
      const reply = expectSuccess(client.call(INFO, getIrqInfo(index, 64)), INFO, 16);
      expect(reply.view.getUint32(0, true)).toBe(16);
      expect(reply.view.getUint32(8, true)).toBe(index);
    }
    const automasked = MASKABLE | AUTOMASKED;
    expect(seeIrq(client, INTX).flags & automasked).toBe(automasked);
    for (const index of [MSI, 2, ERR, REQ])
      expect(seeIrq(client, index).flags & automasked).toBe(0);
  });

  test('IRQ-02 info: 8 bytes; argsz 8; an index that does not exist', () => {
    const client = subject.client();
    const { irqs } = seeDevice(client);
    expectInvalid(callCutShort(client, INFO, getIrqInfo(MSI), 8), INFO);
    for (const payload of [getIrqInfo(MSI, 8), getIrqInfo(irqs), getIrqInfo(0xffff_ffff)])
      expectInvalid(client.call(INFO, payload), INFO);
    expectUsable(client);
  });

  test('IRQ-04 argsz 3 and 19', () => {
    const client = subject.client();
    for (const argsz of [3, 19])
      expectInvalid(client.call(SET, setIrqs(TN, MSI, 0, 1, [], argsz)), SET);
    expectUsable(client);
  });

  test('IRQ-05 an index that does not exist', () => {
    const client = subject.client();
    for (const index of [seeDevice(client).irqs, 0xffff_ffff])
      expectInvalid(set(client, TN, index, 0, 1), SET);
    expectUsable(client);
  });

  test('IRQ-07 no action', () => {
    expectInvalid(set(subject.client(), IRQ.NONE, MSI, 0, 1), SET);
  });

  test('IRQ-08 two data types; none', () => {
    const client = subject.client();
    expectInvalid(set(client, TN | IRQ.BOOL, MSI, 0, 1, { data: [1] }), SET);
    expectInvalid(set(client, IRQ.TRIGGER, MSI, 0, 1), SET);
    expectInvalid(set(client, TN | 64, MSI, 0, 1), SET);
    expectInvalid(set(client, TN | IRQ.MASK, MSI, 0, 1), SET);
  });

  test('IRQ-10 ERR and REQ cannot be masked and have one vector', () => {
    const client = subject.client();
    for (const index of [ERR, REQ]) {
      expectRefusal(set(client, IRQ.MASK | IRQ.NONE, index, 0, 1), SET, E.INVAL, E.NOTTY);
      expectInvalid(set(client, TN, index, 0, 2), SET);
    }
    expectUsable(client);
  });

  test('IRQ-11 start 1, count 0', () => {
    expectInvalid(set(subject.client(), TN, MSI, 1, 0), SET);
  });

  test('IRQ-11 ranges that wrap', () => {
    const client = subject.client();
    for (const [start, count] of [
      [0xffff_ffff, 1],
      [1, 0xffff_ffff],
      [0xffff_ffff, 0xffff_ffff],
      [0, 0xffff_ffff],
    ] as const)
      for (const type of [TN, TE]) expectInvalid(set(client, type, MSI, start, count), SET);
    expectUsable(client);
  });

  test('IRQ-13 one byte too few, one too many', () => {
    const client = subject.client();
    const count = Math.min(2, seeIrq(client, MSI).count);
    for (const length of [count - 1, count + 1])
      expectInvalid(set(client, TB, MSI, 0, count, { data: new Uint8Array(length) }), SET);
  });

  const strays: ReadonlyArray<readonly [string, number, number, Piece, number]> = [
    ['with TRIGGER BOOL', TB, 1, [1], 1],
    ['with TRIGGER NONE', TN, 1, [], 1],
    ['with count 2', TE, 2, [], 1],
    ['two with count 1', TE, 1, [], 2],
  ];
  test.each(strays)('IRQ-14 a descriptor %s', (_name, flags, count, data, number) => {
    const client = subject.client();
    const ends = pipe();
    const fds = Array.from({ length: number }, () => ends.writeEnd);
    const reply = set(client, flags, MSI, 0, count, { data, fds });
    closeFd(ends.writeEnd);
    expectInvalid(reply, SET);
    expect(waitHangUp(ends.readEnd, 2000)).toBe(true);
    closeFd(ends.readEnd);
    expectUsable(client);
  });

  test('IRQ-16 TRIGGER NONE signals the vectors named', () => {
    const client = subject.client();
    const four = assignFour(client);
    if (four === undefined) return;
    const { index, fds } = four;
    expectSuccess(set(client, TN, index, 1, 2), SET, 0);
    expect(fds.map(takeCounter)).toEqual([0, 1, 1, 0]);
    fds.forEach(closeFd);
  });

  test('IRQ-16 one vector', () => {
    const client = subject.client();
    const index = messageIndex(client);
    const fds = eventFds(1);
    assign(client, index, fds);
    expectSuccess(set(client, TN, index, 0, 1), SET, 0);
    expectSuccess(set(client, TB, index, 0, 1, { data: [1] }), SET, 0);
    expectSuccess(set(client, TB, index, 0, 1, { data: [0] }), SET, 0);
    expect(fds.map(takeCounter)).toEqual([2]);
    expectSuccess(set(client, TE, index, 0, 1), SET, 0);
    set(client, TN, index, 0, 1);
    expect(fds.map(takeCounter), 'de-assigned').toEqual([0]);
    fds.forEach(closeFd);
  });

  test('IRQ-17 TRIGGER BOOL signals where a byte is not 0', () => {
    const client = subject.client();
    const four = assignFour(client);
    if (four === undefined) return;
    const { index, fds } = four;
    expectSuccess(set(client, TB, index, 0, 4, { data: [1, 0, 1, 0] }), SET, 0);
    expect(fds.map(takeCounter)).toEqual([1, 0, 1, 0]);
    expectSuccess(set(client, TB, index, 0, 4, { data: [0, 2, 0, 0x80] }), SET, 0);
    expect(fds.map(takeCounter), 'any value but 0 is true').toEqual([0, 1, 0, 1]);
    fds.forEach(closeFd);
  });

  test('IRQ-19 TRIGGER EVENTFD without descriptors takes only its range back', () => {
    const client = subject.client();
    const four = assignFour(client);
    if (four === undefined) return;
    const { index, fds } = four;
    expectSuccess(set(client, TE, index, 2, 2), SET, 0);
    for (let vector = 0; vector < 4; vector++) set(client, TN, index, vector, 1);
    expect(fds.map(takeCounter)).toEqual([1, 1, 0, 0]);
    fds.forEach(closeFd);
  });

  test('IRQ-20 a new eventfd replaces the old one, which is closed and silent', () => {
    const client = subject.client();
    const index = messageIndex(client);
    const [first, second] = [eventFd(), eventFd()];
    assign(client, index, [first]);
    const footprint = new Footprint(subject.serving);
    assign(client, index, [second]);
    expectSuccess(set(client, TN, index, 0, 1), SET, 0);
    expect([first, second].map(takeCounter)).toEqual([0, 1]);
    expect(footprint.growth()).toBeUndefined();
    closeFd(first);
    closeFd(second);
  });

  test('IRQ-22 MASK and UNMASK of a maskable index', () => {
    const client = subject.client();
    if (seeIrq(client, INTX).count === 0) {
      // A virtual function: there is nothing to mask.
      for (const action of [IRQ.MASK, IRQ.UNMASK])
        expectInvalid(set(client, action | IRQ.NONE, INTX, 0, 1), SET);
      return;
    }
    const fd = eventFd();
    assign(client, INTX, [fd]);
    expectSuccess(set(client, IRQ.MASK | IRQ.NONE, INTX, 0, 1), SET, 0);
    expectSuccess(set(client, IRQ.UNMASK | IRQ.NONE, INTX, 0, 1), SET, 0);
    closeFd(fd);
  });

  test('IRQ-23 leaving closes the eventfds', () => {
    const warm = subject.client();
    const index = messageIndex(warm);
    subject.leave();
    const client = subject.client();
    const fds = eventFds(seeIrq(client, index).count);
    assign(client, index, fds);
    subject.leave();
    subject.expectNothingLeft();
    fds.forEach(closeFd);
  });
});

conformance(
  'IRQ of a device',
  (subject) => {
    test('D-05 the device raises vectors unassigned, out of range, assigned', () => {
      const client = subject.client();
      const fds = eventFds(2);
      expect(steer(client, COMMAND.RAISE_IRQ, MSI, 0)).toBe(E.NOENT);
      assign(client, MSI, fds);
      expect(steer(client, COMMAND.RAISE_IRQ, MSI, 99)).toBe(E.INVAL);
      expect(steer(client, COMMAND.RAISE_IRQ, MSI, 1)).toBe(0);
      expect(fds.map(takeCounter)).toEqual([0, 1]);
      fds.forEach(closeFd);
    });

    test('D-06 INTx masks itself; the next edge comes after UNMASK', () => {
      const client = subject.client();
      const fd = eventFd();
      assign(client, INTX, [fd]);
      expect(steer(client, COMMAND.RAISE_IRQ, INTX, 0)).toBe(0);
      expect(takeCounter(fd)).toBe(1);
      expect(steer(client, COMMAND.RAISE_IRQ, INTX, 0)).toBe(0);
      expect(takeCounter(fd)).toBe(0);
      expectSuccess(set(client, IRQ.UNMASK | IRQ.NONE, INTX, 0, 1), SET, 0);
      expect(takeCounter(fd)).toBe(1);
      expectSuccess(set(client, IRQ.UNMASK | IRQ.NONE, INTX, 0, 1), SET, 0);
      expect(takeCounter(fd)).toBe(0);
      closeFd(fd);
    });
  },
  [CASE_DEVICE],
);
