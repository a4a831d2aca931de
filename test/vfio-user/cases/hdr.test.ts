/** Framing: headers, sizes, flags, order, descriptors that nobody asked for. */
import { expect, test } from 'vitest';
import { closeFd, pipe, waitHangUp } from '../../support/libc.ts';
import { NoAnswer } from '../../support/raw-client.ts';
import {
  CMD,
  dmaMap,
  dmaUnmap,
  FEATURE,
  FEATURE_OP,
  FLAG,
  feature,
  getInfo,
  getIrqInfo,
  getRegionInfo,
  IRQ,
  join,
  message,
  regionRead,
  regionWrite,
  setIrqs,
  u32,
} from '../../support/wire.ts';
import {
  CONFIG,
  callCutShort,
  conformance,
  expectNextClientServed,
  INTERRUPT_LINE,
  read,
} from './conformance.ts';
import {
  closeAll,
  expectInvalid,
  expectRefusedOrClosed,
  expectSuccess,
  expectUsable,
  sendExpectingRefusalOrClose,
} from './expectations.ts';

const INFO = CMD.DEVICE_GET_INFO;
const MAX_DATA_XFER_SIZE = 2 ** 20;
const GIB = 2 ** 30;

conformance('HDR', (subject) => {
  test('HDR-01 every message id is echoed, repeats too', () => {
    const client = subject.client();
    for (const id of [0, 0xffff, 0xffff, 7, 7]) {
      const reply = expectSuccess(client.call(INFO, getInfo(), { id }), INFO, 16);
      expect(reply.id).toBe(id);
    }
  });

  test('HDR-02 a good reply has flags 1, error 0 and its own size', () => {
    const client = subject.client();
    const good: ReadonlyArray<readonly [number, Uint8Array, number | undefined]> = [
      [INFO, getInfo(), 16],
      [CMD.DEVICE_GET_REGION_INFO, getRegionInfo(CONFIG), 32],
      [CMD.DEVICE_GET_IRQ_INFO, getIrqInfo(1), 16],
      [CMD.REGION_READ, regionRead(CONFIG, 0, 4), 20],
      [CMD.REGION_WRITE, regionWrite(CONFIG, INTERRUPT_LINE, [0]), 16],
      [CMD.DMA_MAP, dmaMap(0x1000, 0x1000), 0],
      [CMD.DMA_UNMAP, dmaUnmap(0x1000, 0x1000), 24],
      [CMD.DEVICE_FEATURE, feature(FEATURE_OP.PROBE | FEATURE_OP.GET | FEATURE.MIGRATION), 8],
      [CMD.DEVICE_RESET, new Uint8Array(0), 0],
    ];
    for (const [command, payload, size] of good)
      expectSuccess(client.call(command, payload), command, size);
  });

  test('HDR-04 a short GET_INFO is answered by a bare error header', () => {
    const client = subject.client();
    expectInvalid(callCutShort(client, INFO, getInfo(), 8), INFO);
    expectUsable(client);
  });

  test('HDR-05 commands without their payload are EINVAL, the connection stays', () => {
    const client = subject.client();
    for (const command of [2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 17, 18]) {
      expectInvalid(client.call(command), command);
      expectUsable(client);
    }
  });

  test('HDR-07 a size field below the header', () => {
    for (const size of [0, 1, 15]) {
      const client = subject.client();
      const bytes = message(CMD.DEVICE_SET_IRQS, [], { size });
      sendExpectingRefusalOrClose(client, bytes);
      expectNextClientServed(subject);
    }
  });

  test('HDR-08 a size beyond every limit is refused at once and nothing is allocated', () => {
    const before = subject.serving.virtualMemory();
    for (const size of [MAX_DATA_XFER_SIZE + 2 ** 16, 0xffff_ffff]) {
      const client = subject.client();
      const bytes = message(CMD.DEVICE_SET_IRQS, [], { size });
      sendExpectingRefusalOrClose(client, bytes);
      expectNextClientServed(subject);
    }
    expect(subject.serving.virtualMemory() - before).toBeLessThan(GIB);
  });

  test('HDR-10 NO_REPLY: executed, not answered', () => {
    const client = subject.client();
    const quiet = { flags: FLAG.NO_REPLY };
    const payload = regionWrite(CONFIG, INTERRUPT_LINE, [0x5a]);
    client.send(message(CMD.REGION_WRITE, payload, { id: 8, ...quiet }));
    client.send(message(INFO, getInfo(), { id: 9 }));
    const reply = expectSuccess(client.receive(), INFO, 16);
    expect(reply.id).toBe(9);
    expect([...read(client, CONFIG, INTERRUPT_LINE, 1)]).toEqual([0x5a]);
  });

  test('HDR-11 NO_REPLY: an error is not answered either', () => {
    const client = subject.client();
    client.send(message(INFO, u32(16), { id: 8, flags: FLAG.NO_REPLY }));
    client.send(message(INFO, getInfo(), { id: 9 }));
    expect(expectSuccess(client.receive(), INFO, 16).id).toBe(9);
  });

  test('HDR-13 six messages in one write, each with its own verdict', () => {
    const client = subject.client();
    const good = (id: number) => message(INFO, getInfo(), { id });
    const bad = (id: number) => message(INFO, u32(16), { id });
    client.send(join(good(1), bad(2), bad(3), good(4), bad(5), good(6)));
    for (const [id, isGood] of [true, false, false, true, false, true].entries()) {
      const reply = client.receive();
      expect(reply.id).toBe(id + 1);
      if (isGood) expectSuccess(reply, INFO, 16);
      else expectInvalid(reply, INFO);
    }
  });

  test('HDR-14 the error field of a command is reserved', () => {
    expectSuccess(subject.client().call(INFO, getInfo(), { error: 22 }), INFO, 16);
  });

  test('HDR-16 a message in pieces', () => {
    const client = subject.client();
    const bytes = message(CMD.REGION_WRITE, regionWrite(CONFIG, INTERRUPT_LINE, [0x21]));
    for (const cut of [1, 8, 15, 16, 17, 24, 32]) {
      client.send(bytes.subarray(0, cut));
      expect(() => client.receive(20)).toThrow(NoAnswer);
      client.send(bytes.subarray(cut));
      expectSuccess(client.receive(), CMD.REGION_WRITE, 16);
    }
    expect([...read(client, CONFIG, INTERRUPT_LINE, 1)]).toEqual([0x21]);
  });

  test('HDR-17 DMA_READ and DMA_WRITE are not the client’s to send', () => {
    const client = subject.client();
    for (const command of [CMD.DMA_READ, CMD.DMA_WRITE])
      expectInvalid(client.call(command, new Uint8Array(16)), command);
    expectUsable(client);
  });

  const strays: ReadonlyArray<readonly [string, number, Uint8Array]> = [
    ['an unknown command', 999, new Uint8Array(8)],
    ['a good GET_INFO', INFO, getInfo()],
    ['a short GET_INFO', INFO, u32(16)],
    ['a bad SET_IRQS', CMD.DEVICE_SET_IRQS, setIrqs(IRQ.NONE | IRQ.TRIGGER, 77, 0, 1)],
    ['a bad DMA_MAP', CMD.DMA_MAP, dmaMap(0x1000, 0)],
    ['RESET', CMD.DEVICE_RESET, new Uint8Array(0)],
  ];
  test.each(strays)('HDR-19 two descriptors with %s are closed', (_name, command, payload) => {
    const client = subject.client();
    const ends = pipe();
    const reply = client.call(command, payload, { fds: [ends.writeEnd, ends.writeEnd] });
    closeFd(ends.writeEnd);
    expect(reply.command).toBe(command);
    expect(waitHangUp(ends.readEnd, 2000)).toBe(true);
    closeFd(ends.readEnd);
    expectUsable(client);
  });

  test('HDR-20 more descriptors than the server takes', () => {
    for (const count of [17, 64, 253]) {
      const client = subject.client();
      const ends = pipe();
      const fds = Array.from({ length: count }, () => ends.writeEnd);
      client.send(message(INFO, getInfo()), fds);
      closeFd(ends.writeEnd);
      try {
        closeAll(client.receive().fds);
      } catch {
        expectRefusedOrClosed(client);
      }
      expect(waitHangUp(ends.readEnd, 2000)).toBe(true);
      closeFd(ends.readEnd);
      expectNextClientServed(subject);
    }
    subject.expectNothingLeft();
  });

  test('HDR-22 400 commands before any reply is read', () => {
    const client = subject.client();
    const commands = Array.from({ length: 400 }, (_, id) => message(INFO, getInfo(), { id }));
    client.send(join(...commands));
    for (let id = 0; id < 400; id++) expect(expectSuccess(client.receive(), INFO, 16).id).toBe(id);
  });
});
