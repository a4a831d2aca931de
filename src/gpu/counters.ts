/**
 * What a VF's driver made its device do, as numbers: accesses, interrupts, GuC messages, commands,
 * faults, bytes. One instance a VF lives as long as the VF; nothing here is part of a VF's state, so
 * neither a reset nor a migration touches it.
 */
import { VF_RELAY_ACTION } from '../xe/guc/pf-actions.ts';
import { G2H_ACTION, H2G_ACTION, MAILBOX_ACTION } from '../xe/guc/vf-actions.ts';
import { VF_REGISTERS } from '../xe/registers.ts';

const REGISTER_NAMES = Object.keys(VF_REGISTERS) as (keyof typeof VF_REGISTERS)[];

/** Names of the blocks that accesses are counted by: the VF's registers, then its apertures. */
export const REGISTER_BLOCKS = [
  ...REGISTER_NAMES,
  /** Registers that a VF does not have. */
  'other',
  /** The page that user space maps as a write barrier. */
  'barrier',
  /** PTEs that came as messages, not through a mapping. */
  'GGTT',
  /** VRAM that came as messages, not through a mapping. */
  'LMEM',
] as const;

/** A block's index in {@link REGISTER_BLOCKS}; a number because accesses are counted on a hot path. */
export type RegisterBlock = number;

const blockNamed = (name: (typeof REGISTER_BLOCKS)[number]): RegisterBlock =>
  REGISTER_BLOCKS.indexOf(name);

/** The blocks that are no registers of the table. */
export const APERTURE_BLOCK = {
  OTHER: blockNamed('other'),
  BARRIER: blockNamed('barrier'),
  GGTT: blockNamed('GGTT'),
  LMEM: blockNamed('LMEM'),
} as const;

const blockOfOffset = new Map<number, RegisterBlock>(
  REGISTER_NAMES.flatMap((name) => {
    const { offset, count, stride } = VF_REGISTERS[name];
    return Array.from(
      { length: count },
      (_, n) => [offset + n * stride, blockNamed(name)] as const,
    );
  }),
);

/** The block of a register by its byte offset in BAR 0, a multiple of 4 below 4 MiB. */
export function registerBlockOf(offset: number): RegisterBlock {
  return blockOfOffset.get(offset) ?? APERTURE_BLOCK.OTHER;
}

/** The way that a GuC message goes. */
export type GucDirection = 'mailbox' | 'H2G' | 'G2H';

/** Reads and writes of a block. */
export interface AccessCount {
  readonly reads: number;
  readonly writes: number;
}

/** Counts by name; what never happened is left out. */
export type NamedCounts = Readonly<Record<string, number>>;

/** All counters of a VF at one moment, as plain JSON. */
export interface CounterSnapshot {
  /** Accesses that reached the device as messages, by block. */
  readonly registers: Readonly<Record<string, AccessCount>>;
  /** All of them. */
  readonly accesses: AccessCount;
  /** Interrupts raised, by their source. */
  readonly interrupts: NamedCounts;
  /** GuC messages by action, in each direction. */
  readonly gucMessages: Readonly<Record<GucDirection, NamedCounts>>;
  /** Commands that engines executed, by opcode. */
  readonly commands: NamedCounts;
  readonly faults: NamedCounts;
  /** Bytes that engines wrote with copies and fills. */
  readonly copiedBytes: number;
}

const ACTION_NAMES: Readonly<Record<GucDirection, ReadonlyMap<number, string>>> = {
  mailbox: namesOf(MAILBOX_ACTION),
  H2G: namesOf(H2G_ACTION, VF_RELAY_ACTION),
  G2H: namesOf(G2H_ACTION, VF_RELAY_ACTION),
};

function namesOf(...tables: Readonly<Record<string, number>>[]): ReadonlyMap<number, string> {
  return new Map(
    tables.flatMap((table) =>
      Object.entries(table).map(([name, action]) => [action, name] as const),
    ),
  );
}

/** Counts by key: a cell is made once, so that counting allocates nothing. */
class Tally<Key> {
  readonly #cells = new Map<Key, { count: number }>();

  add(key: Key, count: number): void {
    const cell = this.#cells.get(key);
    if (cell === undefined) this.#cells.set(key, { count });
    else cell.count += count;
  }

  counts(nameOf: (key: Key) => string): NamedCounts {
    const named: Record<string, number> = {};
    for (const [key, { count }] of this.#cells) {
      const name = nameOf(key);
      named[name] = (named[name] ?? 0) + count;
    }
    return named;
  }
}

const itself = (name: string): string => name;

/** The counters of one VF. */
export class VfCounters {
  /** Doubles, so that no count wraps. */
  readonly #reads = new Float64Array(REGISTER_BLOCKS.length);
  readonly #writes = new Float64Array(REGISTER_BLOCKS.length);
  readonly #interrupts = new Tally<string>();
  readonly #messages: Readonly<Record<GucDirection, Tally<number>>> = {
    mailbox: new Tally(),
    H2G: new Tally(),
    G2H: new Tally(),
  };
  readonly #commands = new Tally<string>();
  readonly #faults = new Tally<string>();
  #copiedBytes = 0;

  /** Counts a read that came as a message; `block` as {@link registerBlockOf} gives it. */
  registerRead(block: RegisterBlock): void {
    this.#reads[block] = (this.#reads[block] as number) + 1;
  }

  /** Counts a write that came as a message. */
  registerWrite(block: RegisterBlock): void {
    this.#writes[block] = (this.#writes[block] as number) + 1;
  }

  /** Counts a GuC message by the action of its HXG header; an answer is no message of its own. */
  gucMessage(direction: GucDirection, action: number): void {
    this.#messages[direction].add(action, 1);
  }

  /** Counts an interrupt by its source, such as `GuC` or `rcs0`. */
  interrupt(source: string): void {
    this.#interrupts.add(source, 1);
  }

  /** Counts executed commands by the opcode's name in the specification, such as `MI_STORE_DATA_IMM`. */
  command(opcode: string, count = 1): void {
    this.#commands.add(opcode, count);
  }

  /** Counts a fault by its kind, such as `PAGE_FAULT` or `CAT_ERROR`. */
  fault(kind: string): void {
    this.#faults.add(kind, 1);
  }

  /** Counts bytes that a copy or fill has written. */
  copied(bytes: number): void {
    this.#copiedBytes += bytes;
  }

  /** All counters as they are now. */
  snapshot(): CounterSnapshot {
    return {
      registers: this.#registers(),
      accesses: { reads: sum(this.#reads), writes: sum(this.#writes) },
      interrupts: this.#interrupts.counts(itself),
      gucMessages: {
        mailbox: this.#messages.mailbox.counts(actionName('mailbox')),
        H2G: this.#messages.H2G.counts(actionName('H2G')),
        G2H: this.#messages.G2H.counts(actionName('G2H')),
      },
      commands: this.#commands.counts(itself),
      faults: this.#faults.counts(itself),
      copiedBytes: this.#copiedBytes,
    };
  }

  #registers(): Record<string, AccessCount> {
    const blocks: Record<string, AccessCount> = {};
    REGISTER_BLOCKS.forEach((name, block) => {
      const reads = this.#reads[block] as number;
      const writes = this.#writes[block] as number;
      if (reads > 0 || writes > 0) blocks[name] = { reads, writes };
    });
    return blocks;
  }
}

function actionName(direction: GucDirection): (action: number) => string {
  return (action) => ACTION_NAMES[direction].get(action) ?? `0x${action.toString(16)}`;
}

function sum(counts: Float64Array): number {
  return counts.reduce((total, count) => total + count, 0);
}
