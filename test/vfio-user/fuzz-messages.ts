/**
 * Messages for the hostile-input test: good ones, ones that no server may accept, and ones of which
 * nobody can tell, made from a seed.
 */
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
  getState,
  HEADER_SIZE,
  IRQ,
  join,
  message,
  migRead,
  migWrite,
  regionRead,
  regionWrite,
  STATE,
  setIrqs,
  setState,
  singleWrite,
  u32,
  u64,
} from '../support/wire.ts';

/** A reproducible source of numbers: mulberry32. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** 0 to 2^32-1. */
  u32(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** 0 to `limit` - 1. */
  below(limit: number): number {
    return this.u32() % limit;
  }

  /** True in one of `n` cases. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.u32() & 0xff);
  }

  /** A number as attackers like them: near a power of two, near the end, or anything. */
  nasty(): number {
    const near = 2 ** this.below(33) + this.below(3) - 1;
    return this.pick([0, 1, 0xffff_ffff, near, this.u32()]) >>> 0;
  }

  nasty64(): bigint {
    const near = (1n << BigInt(this.below(65))) + BigInt(this.below(3)) - 1n;
    const any = (BigInt(this.u32()) << 32n) | BigInt(this.u32());
    return BigInt.asUintN(64, this.pick([0n, 2n ** 64n - 1n, near, near, any]));
  }
}

/** What the answer must be. */
export type Verdict = 'served' | 'refused' | 'either';

/** One message and what must come of it. */
export interface Shot {
  readonly bytes: Uint8Array;
  readonly command: number;
  readonly id: number;
  /** False with NO_REPLY. */
  readonly answered: boolean;
  readonly verdict: Verdict;
  /** Descriptors to send along, as positions in a list of some. */
  readonly fds: readonly number[];
}

type Payload = readonly [command: number, payload: Uint8Array, verdict: Verdict];

const CONFIG = 7;
const PAGE = 4096;
const REGIONS = 9;
const IRQS = 5;
const COMMANDS = Object.values(CMD).filter((command) => command !== CMD.VERSION);

function good(chance: Chance): Payload {
  const offset = chance.below(192);
  return chance.pick<() => Payload>([
    () => [CMD.DEVICE_GET_INFO, getInfo(), 'served'],
    () => [CMD.DEVICE_GET_REGION_INFO, getRegionInfo(chance.below(REGIONS)), 'served'],
    () => [CMD.DEVICE_GET_IRQ_INFO, getIrqInfo(chance.below(IRQS)), 'served'],
    () => [CMD.REGION_READ, regionRead(CONFIG, offset, chance.below(64)), 'served'],
    () => [CMD.REGION_READ, regionRead(0, offset * 4, 4), 'either'],
    () => [CMD.DEVICE_FEATURE, getState(), 'served'],
    () => [
      CMD.DEVICE_FEATURE,
      feature(FEATURE_OP.PROBE | FEATURE_OP.GET | FEATURE.MIGRATION),
      'served',
    ],
    () => [CMD.REGION_WRITE, regionWrite(CONFIG, 0x3c, chance.bytes(1)), 'served'],
  ])();
}

/** A SET_IRQS that a device with a few vectors may well take. */
function someIrqs(chance: Chance): Uint8Array {
  const type = chance.pick([IRQ.NONE, IRQ.BOOL, IRQ.EVENTFD]);
  const action = chance.pick([IRQ.TRIGGER, IRQ.TRIGGER, IRQ.TRIGGER, IRQ.MASK, IRQ.UNMASK]);
  const count = chance.below(3);
  const data = type === IRQ.BOOL ? chance.bytes(count) : [];
  return setIrqs(type | action, chance.below(IRQS), chance.below(2), count, data);
}

/** Well formed, but what comes of it depends on what came before. */
function eventful(chance: Chance): Payload {
  const iova = chance.below(256) * PAGE;
  const size = (1 + chance.below(16)) * PAGE;
  const state = chance.below(9);
  const logging = FEATURE_OP.SET | FEATURE.DMA_LOGGING_START;
  const report = FEATURE_OP.GET | FEATURE.DMA_LOGGING_REPORT;
  return chance.pick<() => Payload>([
    () => [CMD.DMA_MAP, dmaMap(iova, size, { flags: 1 + chance.below(3) }), 'either'],
    () => [CMD.DMA_UNMAP, dmaUnmap(iova, size), 'either'],
    () => [CMD.DEVICE_FEATURE, setState(state), state === 0 || state > 7 ? 'refused' : 'either'],
    () => [CMD.DEVICE_FEATURE, setState(chance.pick([STATE.STOP_COPY, STATE.RESUMING])), 'either'],
    () => [CMD.MIG_DATA_READ, migRead(chance.below(3000)), 'either'],
    () => [CMD.MIG_DATA_WRITE, migWrite(chance.bytes(chance.below(200))), 'either'],
    () => [CMD.DEVICE_SET_IRQS, someIrqs(chance), 'either'],
    () => [
      CMD.DEVICE_FEATURE,
      feature(logging, join(u64(PAGE), u32(1, 0), u64(iova, size))),
      'either',
    ],
    () => [CMD.DEVICE_FEATURE, feature(report, u64(iova, size, PAGE), 4096), 'either'],
    () =>
      chance.oneIn(3)
        ? [CMD.DEVICE_RESET, new Uint8Array(0), 'served']
        : [CMD.DEVICE_FEATURE, feature(FEATURE_OP.SET | FEATURE.DMA_LOGGING_STOP), 'either'],
  ])();
}

/** Wrong in a way that every server must see. */
function bad(chance: Chance): Payload {
  const index = REGIONS + (chance.nasty() % (2 ** 32 - REGIONS));
  const irq = IRQS + (chance.nasty() % (2 ** 32 - IRQS));
  const length = chance.below(16);
  const end = 4096 - chance.below(4);
  return chance.pick<() => Payload>([
    () => [CMD.DEVICE_GET_INFO, getInfo().subarray(0, length), 'refused'],
    () => [CMD.DEVICE_GET_INFO, getInfo(length), 'refused'],
    () => [CMD.DEVICE_GET_REGION_INFO, getRegionInfo(index), 'refused'],
    () => [CMD.DEVICE_GET_REGION_INFO, getRegionInfo(0).subarray(0, 2 * length), 'refused'],
    () => [CMD.DEVICE_GET_IRQ_INFO, getIrqInfo(irq), 'refused'],
    () => [CMD.DEVICE_SET_IRQS, setIrqs(IRQ.NONE | IRQ.TRIGGER, irq, 0, 1), 'refused'],
    () => [CMD.DEVICE_SET_IRQS, setIrqs(IRQ.NONE | IRQ.BOOL | IRQ.TRIGGER, 1, 0, 1), 'refused'],
    () => [CMD.REGION_READ, regionRead(index, 0, 4), 'refused'],
    () => [CMD.REGION_READ, regionRead(CONFIG, end, 5), 'refused'],
    () => [CMD.REGION_READ, regionRead(CONFIG, 2n ** 64n - BigInt(1 + length), 16), 'refused'],
    () => [CMD.REGION_READ, regionRead(1, 0, 1 + length), 'refused'],
    () => [CMD.REGION_WRITE, regionWrite(CONFIG, end, chance.bytes(5)), 'refused'],
    () => [CMD.REGION_WRITE, regionWrite(CONFIG, 0, chance.bytes(length), 16), 'refused'],
    () => [CMD.REGION_WRITE, regionWrite(index, 0, chance.bytes(4)), 'refused'],
    () => [CMD.REGION_WRITE_MULTI, join(u64(2), singleWrite(0, 4, [1])), 'refused'],
    () => [CMD.REGION_WRITE_MULTI, u64(1n + chance.nasty64() / 2n), 'refused'],
    () => [CMD.DMA_MAP, dmaMap(chance.below(99) * PAGE, 0), 'refused'],
    () => [CMD.DMA_MAP, dmaMap(chance.below(99) * PAGE + 1 + length, PAGE), 'refused'],
    () => [CMD.DMA_MAP, dmaMap(PAGE, PAGE, { flags: 4 + length }), 'refused'],
    () => [CMD.DMA_MAP, dmaMap(PAGE, PAGE).subarray(0, 2 * length), 'refused'],
    () => [CMD.DMA_UNMAP, dmaUnmap(2 ** 40 + PAGE * length, PAGE), 'refused'],
    () => [CMD.DMA_UNMAP, dmaUnmap(PAGE, PAGE).subarray(0, length), 'refused'],
    () => [CMD.DEVICE_FEATURE, feature(FEATURE_OP.GET | FEATURE_OP.SET | 1), 'refused'],
    () => [CMD.DEVICE_FEATURE, feature(0x8000_0000 | chance.below(16)), 'refused'],
    () => [CMD.DEVICE_FEATURE, feature(FEATURE_OP.GET | (13 + length)), 'refused'],
    () => [CMD.DEVICE_FEATURE, setState(8 + (chance.nasty() % (2 ** 32 - 8))), 'refused'],
    () => [CMD.DEVICE_FEATURE, setState(1).subarray(0, length), 'refused'],
    () => [CMD.MIG_DATA_READ, migRead(2 ** 20 + 1 + length), 'refused'],
    () => [CMD.MIG_DATA_WRITE, migWrite(chance.bytes(length), length + 1), 'refused'],
    () => [CMD.DMA_READ, chance.bytes(16), 'refused'],
    () => [CMD.DMA_WRITE, chance.bytes(16), 'refused'],
    () => [chance.pick([0, 14, 19, 999, 0xffff]), chance.bytes(length), 'refused'],
  ])();
}

/** Bits of a good or eventful message turned over: nobody can tell. */
function mutated(chance: Chance): Payload {
  const [command, payload] = chance.oneIn(2) ? good(chance) : eventful(chance);
  const bytes = payload.slice();
  const view = new DataView(bytes.buffer);
  for (let flips = 1 + chance.below(4); flips > 0 && bytes.length >= 8; flips--) {
    const at = chance.below(bytes.length - 3);
    if (chance.oneIn(3)) view.setUint32(at, chance.nasty(), true);
    else bytes[at] = (bytes[at] ?? 0) ^ (1 << chance.below(8));
    if (chance.oneIn(6)) view.setBigUint64(chance.below(bytes.length - 7), chance.nasty64(), true);
  }
  return [command, bytes, 'either'];
}

function anything(chance: Chance): Payload {
  return [chance.pick(COMMANDS), chance.bytes(chance.below(80)), 'either'];
}

/** A large body: what a server that trusts sizes would copy somewhere. */
function bulky(chance: Chance): Payload {
  const data = new Uint8Array(chance.below(70_000)).fill(chance.u32());
  return chance.pick<() => Payload>([
    () => [CMD.MIG_DATA_WRITE, migWrite(data), 'either'],
    () => [CMD.REGION_WRITE, regionWrite(0, 0, data), 'either'],
    () => [CMD.DEVICE_SET_IRQS, setIrqs(IRQ.BOOL | IRQ.TRIGGER, 1, 0, data.length, data), 'either'],
    () => [chance.pick(COMMANDS), data, 'either'],
  ])();
}

/** The next message whose framing is sound. */
export function nextShot(chance: Chance, kinds: number): Shot {
  const roll = chance.below(100);
  let payload: Payload;
  if (roll < 25) payload = good(chance);
  else if (roll < 45) payload = eventful(chance);
  else if (roll < 70) payload = bad(chance);
  else if (roll < 90) payload = mutated(chance);
  else if (roll < 99) payload = anything(chance);
  else payload = chance.oneIn(3) ? bulky(chance) : anything(chance);
  const [command, body, verdict] = payload;
  const id = chance.below(65536);
  const answered = !chance.oneIn(12);
  const carries = chance.oneIn(command === CMD.DMA_MAP || command === CMD.DEVICE_SET_IRQS ? 2 : 60);
  const fds = carries
    ? Array.from({ length: chance.pick([1, 1, 1, 2, 4, 8]) }, () => chance.below(kinds))
    : [];
  // Descriptors that do not belong there may be reason enough to refuse.
  const judged = fds.length > 0 && verdict === 'served' ? 'either' : verdict;
  const flags = answered ? 0 : FLAG.NO_REPLY;
  const bytes = message(command, body, { id, flags, error: chance.oneIn(9) ? chance.u32() : 0 });
  return { bytes, command, id, answered, verdict: judged, fds };
}

/** Bytes after which nobody knows where the next message begins. */
export function nextWreck(chance: Chance): Uint8Array {
  const some = nextShot(chance, 1).bytes;
  const other = nextShot(chance, 1).bytes;
  const view = new DataView(some.buffer);
  switch (chance.below(7)) {
    case 0:
      return chance.bytes(1 + chance.below(400));
    case 1: {
      view.setUint32(4, chance.nasty(), true);
      return join(some, other);
    }
    case 2:
      return join(some.subarray(0, chance.below(some.length)), other);
    case 3: {
      view.setUint32(8, chance.nasty(), true);
      return join(some, other);
    }
    case 4: {
      const cut = chance.below(some.length);
      return join(some.subarray(cut), some.subarray(0, cut), other);
    }
    case 5:
      return some.subarray(0, chance.below(HEADER_SIZE + 4));
    default: {
      const whole = join(some, other, some);
      for (let i = 0; i < 8; i++) {
        const [a, b] = [chance.below(whole.length), chance.below(whole.length)];
        [whole[a], whole[b]] = [whole[b] ?? 0, whole[a] ?? 0];
      }
      return whole;
    }
  }
}
