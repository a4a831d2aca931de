/**
 * What the parts of an engine promise each other: memory by GPU address, commands that take long,
 * one context's execution, and the scheduler above.
 *
 * Everything runs on the device's thread in short turns, so that a long copy never holds up a
 * register access: whoever does work takes a budget and gives the turn back when it is used up,
 * with its position kept. A position is plain numbers, so that it can be migrated.
 */

/** What an access wants to do. */
export type GpuAccess = 'read' | 'write' | 'atomic';

/** Why an access by GPU address failed. The last one stands in {@link GpuMemory.fault}. */
export interface GpuMemoryFault {
  /** Bytes, without the sign extension of a canonical address. */
  address: number;
  access: GpuAccess;
  /** Level of the page table at which the walk ended: 4 is the root, 0 the PTE. */
  level: number;
  type: 'not-present' | 'write-access-violation' | 'atomic-access-violation' | 'bus-error';
}

/**
 * Memory by GPU virtual address: the GGTT of a VF, or one PPGTT. Addresses are bytes below 2^48.
 * Nothing throws and nothing allocates but {@link run}; a failed access leaves memory unchanged from
 * the failing page on.
 */
export interface GpuMemory {
  /** About the last access that failed; valid until the next one. */
  readonly fault: Readonly<GpuMemoryFault>;
  /** Copies bytes out. @returns false on a fault */
  read(address: number, target: Uint8Array): boolean;
  /** Copies bytes in. @returns false on a fault */
  write(address: number, source: Uint8Array): boolean;
  /** The dword at a 4-byte aligned address, unsigned; undefined on a fault. */
  readU32(address: number): number | undefined;
  /** Writes a dword. @returns false on a fault */
  writeU32(address: number, value: number): boolean;
  /** Writes one byte. @returns false on a fault */
  writeU8(address: number, value: number): boolean;
  /**
   * The bytes themselves, from `address` on, as many as lie together, at most `length`; undefined
   * on a fault. What is written into a run that was asked for writing has been written. Null pages
   * give zeros for reading and a throw-away buffer for writing. Memory that is reached by messages
   * gives a copy for reading; such memory cannot be had for writing and `direct` tells: then
   * `write` does it.
   */
  run(address: number, length: number, access: GpuAccess): MemoryRun | undefined;
  /**
   * Forgets what was remembered of page tables: for TLB_INVALIDATION, the TLB bits of MI_FLUSH_DW
   * and PIPE_CONTROL, and the loading of a context. Cheap.
   */
  invalidate(): void;
}

/** Bytes that an address resolved to. Valid until the next {@link GpuMemory.run} for the same access. */
export interface MemoryRun {
  readonly bytes: Uint8Array;
  /** False when `bytes` is a copy and writing needs {@link GpuMemory.write}. */
  readonly direct: boolean;
  /** Where the bytes lie: copies between runs may overlap only within one of these. */
  readonly where: 'system' | 'vram' | 'null';
  /** Offset in VRAM, or I/O virtual address; 0 for null pages. */
  readonly physical: number;
  /** True when the page's PAT index enables compression: its flat CCS then has a say. */
  readonly compressed: boolean;
}

/** How a step of work ended. */
export type StepEnd =
  /** All of it is done. */
  | 'done'
  /** The budget is used up. */
  | 'more'
  /** An access failed; `fault` of the memory tells. The step may be repeated after a fix. */
  | 'fault';

/** What a command that moves many bytes works with. */
export interface TransferContext {
  readonly ggtt: GpuMemory;
  /** The context's own space; the GGTT for a context without PPGTT. */
  readonly ppgtt: GpuMemory;
  /** The VF's store of compression metadata, undefined where the platform has no flat CCS. */
  readonly flatCcs: FlatCcs | undefined;
  /** Counts bytes for the server's statistics and the budget. */
  copied(bytes: number): void;
  /** True when a step has taken its time, however little it copied: it should return `more`. */
  isLate(): boolean;
}

/**
 * Compression control surfaces (flat CCS): one byte describes 512 bytes of main memory on Xe2 and
 * newer (NUM_BYTES_PER_CCS_BYTE), found by the physical place of the main surface. Lengths here are
 * bytes of metadata, from the byte that describes `physical` on.
 */
export interface FlatCcs {
  /** True while every byte is zero. */
  readonly empty: boolean;
  read(where: 'system' | 'vram', physical: number, target: Uint8Array): void;
  write(where: 'system' | 'vram', physical: number, source: Uint8Array): void;
  /** Gives every byte the same value. */
  fill(where: 'system' | 'vram', physical: number, length: number, value: number): void;
}

/** A command under way that may take several turns. */
export interface Transfer {
  /**
   * How far it is; what it means is the command's business. Setting it on a fresh transfer of the
   * same command goes on where the other was.
   */
  progress: number;
  /** The memory whose `fault` tells about a failed step. */
  readonly faulted: GpuMemory | undefined;
  /** Does up to about `budget` bytes of work. */
  step(budget: number): StepEnd;
}

/**
 * Decodes one command whose work is a {@link Transfer}.
 *
 * @param dwords the command, header first, valid during the call
 * @returns undefined when the command is malformed: the engine then hangs, as hardware does
 */
export type TransferCommand = (
  dwords: Uint32Array,
  context: TransferContext,
) => Transfer | undefined;

/** How a turn of a context's execution ended. */
export type TurnEnd =
  /** The ring is empty: HEAD has reached TAIL. */
  | 'idle'
  /** The budget is used up; it can go on at once. */
  | 'more'
  /** It waits for a semaphore or event; worth asking again after others have run. */
  | 'waiting'
  /** A page fault that the VF's driver may repair; going on repeats the access. */
  | 'page-fault'
  /** An access that nobody repairs, or a ring that makes no sense: a catastrophic error. */
  | 'cat-error'
  /** A command that the engine does not get past: it looks busy for ever. */
  | 'hang'
  /**
   * Its watchdog counter (PR_CTR_THRSH) ran out while it waited: the scheduler resets the engine
   * and loads the context again, which then goes on behind the command that waited.
   */
  | 'watchdog';

/** Where the engine of a GT sits. */
export interface EngineInstance {
  /** As xe_hw_engine.c names it: rcs0, bcs8 ... */
  readonly name: string;
  /** One of GUC_CLASS. */
  readonly engineClass: number;
  /** Number among the engines of its class in hardware, and as the driver's masks count. */
  readonly instance: number;
  readonly logicalInstance: number;
  readonly mmioBase: number;
  /** Byte offset of its memirq vector in the source page. */
  readonly memirqOffset: number;
}

/** The logical ring context to execute. */
export interface ContextRef {
  /** LRC descriptor: GGTT address of the image with flags in bits 11:0. */
  readonly low: number;
  readonly high: number;
}

/** What an execution needs of the VF around it. */
export interface ExecutionHost {
  readonly ggtt: GpuMemory;
  /** The address space of a PDP0 (physical address of the root page table). */
  ppgtt(pdp0: number): GpuMemory;
  readonly flatCcs: FlatCcs | undefined;
  /** True when the VF has a PPGTT in VRAM (page tables of a discrete device always are). */
  readonly discrete: boolean;
  /** Ticks of the command streamer's clock (CTX_TIMESTAMP, RING_TIMESTAMP): 19.2 MHz. */
  timestamp(): bigint;
  /** Milliseconds, monotonic, with fractions. */
  now(): number;
  /** Sends the VF's MSI; the engine has set the memirq bytes. */
  raiseMsi(): void;
  /** Counts for the server's statistics. */
  command(name: string, count?: number): void;
  copied(bytes: number): void;
}

/**
 * One context on an engine. Made when the scheduler puts a context on; `save` when it takes it
 * off. Between the two the image in memory is stale, as on hardware.
 */
export interface ContextExecution {
  /** Goes on for about `budget` units (a command is 1, 4 KiB moved are 1). */
  turn(budget: number): TurnEnd;
  /** About the access that ended the last turn with `page-fault` or `cat-error`. */
  readonly fault: Readonly<GpuMemoryFault> | undefined;
  /** True while the context allows to be taken off (MI_ARB_ON_OFF); the scheduler may force it. */
  readonly preemptible: boolean;
  /** Writes HEAD, timestamps and CTX_CONTROL to the image. @returns the position inside */
  save(): ContextPosition;
}

/** Everything about a stopped context that its image does not hold. Plain numbers, migratable. */
export interface ContextPosition {
  /** Dwords in a layout of the engine's own, empty when it stands between two ring commands. */
  readonly dwords: readonly number[];
  /**
   * The same position after the VF's GGTT moved by `delta` bytes: batches in the GGTT move, those in
   * a PPGTT do not.
   */
  rebased(delta: number): ContextPosition;
}

/** Puts contexts on an engine. */
export interface ContextLoader {
  /**
   * Reads the image and resumes it, at `position` when it was taken off inside a batch.
   *
   * @returns undefined when the image cannot be read or makes no sense (a catastrophic error)
   */
  load(
    engine: EngineInstance,
    context: ContextRef,
    host: ExecutionHost,
    position: ContextPosition | undefined,
  ): ContextExecution | undefined;
  /** A position from its dwords. @returns undefined when they make no sense */
  position(dwords: readonly number[]): ContextPosition | undefined;
}

/**
 * Where the work of a device's engines gets its turns from: an event loop that goes on serving
 * registers in between.
 */
export interface TurnSource {
  /**
   * Has `turn` called soon, never before this returns, and again as it asks: it returns the
   * milliseconds after which it wants to be called, 0 for as soon as others have had their turn,
   * Infinity when there is nothing to do until the next `wake`.
   */
  attach(turn: () => number): { wake(): void; close(): void };
}
