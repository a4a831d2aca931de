/** A context with a ring for tests: an image as the kernel driver makes it, and a host around it. */
import { contextLoader } from '../../../src/gpu/engine/context-loader.ts';
import type {
  ContextExecution,
  ContextPosition,
  EngineInstance,
  ExecutionHost,
  TurnEnd,
} from '../../../src/gpu/engine/contracts.ts';
import { enginesOf } from '../../../src/xe/engines.ts';
import { FakeMemory } from './fake-memory.ts';

/** Where things lie in the GGTT of a rig. */
export const GGTT = {
  ring: 0x10_0000,
  lrc: 0x11_0000,
  regs: 0x11_1000,
  batch: 0x12_0000,
  memirq: 0x13_0000,
  data: 0x14_0000,
} as const;

/** Where things lie in the PPGTT of a rig. */
export const PPGTT = { batch: 0x1_0000_0000, second: 0x1_0010_0000, data: 0x2_0000 } as const;

const PDP0 = 0x1234_5000;
const RING_PAGES = 4;

/** What a rig is made with. */
export interface RigOptions {
  readonly engine?: string;
  /** Without a PPGTT, as the kernel's own contexts. */
  readonly kernel?: boolean;
  /** Bytes of the ring. */
  readonly ringSize?: number;
  readonly head?: number;
}

/** A context on an engine, with memory around it. */
export class EngineRig {
  readonly ggtt = new FakeMemory();
  readonly ppgtt = new FakeMemory();
  readonly engine: EngineInstance;
  readonly commands = new Map<string, number>();
  readonly host: ExecutionHost;
  readonly ringSize: number;
  now = 1000n;
  msis = 0;
  copied = 0;
  /** Milliseconds; stands still unless a test has it go. */
  clock: () => number = () => 0;
  tail: number;
  readonly #low: number;

  constructor(options: RigOptions = {}) {
    const { engine = 'rcs0', kernel = false, ringSize = RING_PAGES * 4096, head = 0 } = options;
    [this.engine] = enginesOf([engine]) as [EngineInstance];
    this.ringSize = ringSize;
    this.tail = head;
    this.#low = GGTT.lrc + (kernel ? 0x19 : 0x119);
    this.ggtt
      .map(GGTT.ring, ringSize)
      .map(GGTT.lrc, 0x5000)
      .map(GGTT.batch, 0x4000)
      .map(GGTT.memirq, 0x1000)
      .map(GGTT.data, 0x2000);
    this.ppgtt.map(PPGTT.batch, 0x4000).map(PPGTT.second, 0x2000).map(PPGTT.data, 0x4000);
    this.host = {
      ggtt: this.ggtt,
      ppgtt: (pdp0) => {
        if (pdp0 !== PDP0) throw new RangeError(`PDP0 ${pdp0}`);
        return this.ppgtt;
      },
      flatCcs: undefined,
      discrete: false,
      timestamp: () => this.now,
      raiseMsi: () => {
        this.msis++;
      },
      command: (name, count = 1) => {
        this.commands.set(name, (this.commands.get(name) ?? 0) + count);
      },
      now: () => this.clock(),
      copied: (bytes) => {
        this.copied += bytes;
      },
    };
    this.#writeImage(head);
  }

  /** Sets a dword of the register state. */
  setReg(index: number, value: number): void {
    this.ggtt.writeU32(GGTT.regs + index * 4, value >>> 0);
  }

  /** A dword of the register state. */
  reg(index: number): number {
    return this.ggtt.readU32(GGTT.regs + index * 4) as number;
  }

  /** Appends commands to the ring, padded to 8 bytes as the driver does, and moves TAIL. */
  submit(...dwords: number[]): void {
    const padded = dwords.length % 2 === 0 ? dwords : [...dwords, 0];
    for (const dword of padded) {
      this.ggtt.writeU32(GGTT.ring + this.tail, dword >>> 0);
      this.tail = (this.tail + 4) % this.ringSize;
    }
    this.setReg(0x07, this.tail);
  }

  /** Puts the context on the engine. @param delta bytes by which its image was moved */
  load(position?: ContextPosition, delta = 0): ContextExecution {
    const execution = contextLoader.load(
      this.engine,
      { low: this.#low + delta, high: 0 },
      this.host,
      position,
    );
    if (execution === undefined) throw new Error('the context was refused');
    return execution;
  }

  /** Puts the context on, runs it for one turn and takes it off. */
  run(budget = 10_000): TurnEnd {
    const execution = this.load();
    const end = execution.turn(budget);
    execution.save();
    return end;
  }

  /** Runs a batch in the PPGTT from the ring. */
  runBatch(...dwords: number[]): TurnEnd {
    this.ppgtt.put(PPGTT.batch, [...dwords, 0x0500_0000]);
    this.submit(0x1880_0101, PPGTT.batch % 2 ** 32, Math.floor(PPGTT.batch / 2 ** 32));
    return this.run();
  }

  /** Runs commands in the ring, and takes the context off. */
  runRing(...dwords: number[]): TurnEnd {
    this.submit(...dwords);
    return this.run();
  }

  #writeImage(head: number): void {
    const base = this.engine.mmioBase;
    const registers = [
      0x244, 0x034, 0x030, 0x038, 0x03c, 0x168, 0x140, 0x110, 0x1c0, 0x1c4, 0x1c8, 0x180, 0x2b4,
      0x120, 0x124,
    ];
    this.setReg(0x01, 0x1108_1000 | (registers.length * 2 - 1));
    for (const [index, offset] of registers.entries()) this.setReg(2 + index * 2, base + offset);
    this.setReg(0x03, 0x0009_0009);
    this.setReg(0x05, head);
    this.setReg(0x07, head);
    this.setReg(0x09, GGTT.ring);
    this.setReg(0x0b, (this.ringSize - 4096) | 1);
    this.setReg(0x31, 0);
    // The descriptor of a root table has flags in its low bits.
    this.setReg(0x33, PDP0 + 0x1b);
    this.setReg(0x50, 0x14c8_0002);
    this.setReg(0x52, GGTT.memirq + 0x440);
    this.setReg(0x55, 0x1108_1003);
    this.setReg(0x57, GGTT.memirq);
    this.setReg(0x59, GGTT.memirq + 0x400);
    this.ggtt.writeU32(GGTT.memirq + 0x440, 1);
  }
}
