/**
 * Passes over VRAM that somebody else may have mapped: with a budget while the VF runs, at full
 * speed once it is stopped. How a pass finds what changed, and when it can rely on page tables, is
 * in docs/precopy.md.
 */
import type { VramLastPass } from '../../pf/ports.ts';
import type { BlockDigest, DigestKey } from '../../sys/block-digest.ts';
import { closeFd, dupFd } from '../../sys/descriptor.ts';
import { addressOf } from '../../sys/mapping.ts';
import { tellsWhoMaps } from '../../sys/page-map.ts';
import type { DeviceMemory } from '../device-memory.ts';
import { BLOCK_SIZE, type BlockTable, CONTROL } from './block-table.ts';
import { BlockScanner, type ScanFind, type ScanScope } from './scan.ts';
import { ScanPool } from './scan-pool.ts';
import { ZapWatch } from './zap-watch.ts';

/** How what a processor changed is to be found, see docs/precopy.md. */
export const PRECOPY_FINDS = ['auto', 'page-tables', 'digests'] as const;
export type PrecopyFind = (typeof PRECOPY_FINDS)[number];

/** How changes are looked for. */
export interface PrecopyOptions {
  /** Threads that compare blocks; 0 compares in the device's own thread. */
  readonly threads: number;
  /** Percent of a core that comparing may take while the VF runs, over the whole pre-copy. */
  readonly budgetPercent: number;
  /**
   * `page-tables` relies on them also where the VMM's mappings cannot be seen; `auto`, which is used
   * unless given, does not.
   */
  readonly find?: PrecopyFind | undefined;
  /** The process that has the VRAM of a VF mapped, undefined when it is not known. */
  readonly vmmPid?: ((vfid: number) => number | undefined) | undefined;
}

/** Full use of a core. */
const WHOLE_CORE = 100;
/** How fast a core looks at VRAM, before it has done so once. */
const GUESSED_BYTES_PER_MS: Readonly<Record<ScanFind, number>> = {
  digests: 10e6,
  'page-tables': 80e6,
};
/** Milliseconds between two passes at least: nothing new is found in less. */
const PASS_INTERVAL_MS = 20;

/** Finds what changed in one VRAM object, from the beginning of a pre-copy to the last pass. */
export class ChangeFinder {
  readonly #memory: DeviceMemory;
  readonly #table: BlockTable;
  readonly #options: PrecopyOptions;
  readonly #key: DigestKey;
  readonly #digest: BlockDigest;
  readonly #zero: bigint;
  readonly #vfid: number;
  #local: BlockScanner | undefined;
  #pool: ScanPool | undefined;
  #watch: ZapWatch | undefined;
  /** Why page tables are not relied on; undefined while they are. */
  #because: string | undefined;
  /** Why a pass has to compare all blocks before page tables tell all again. */
  #owed: string | undefined;
  /** For the threads, which outlast the memory's own descriptor by a moment. */
  #fd = -1;
  /** Keeps the mapping that the threads read through, also when the memory is closed meanwhile. */
  #held: Uint8Array | undefined;
  #passes: Promise<void> | undefined;
  #timer: (() => void) | undefined;
  #over = false;
  #failure: unknown;
  readonly #beganAt = performance.now();
  /** Milliseconds of work of the last pass, on one core. */
  #passMs = 0;
  /** Milliseconds of work of all passes. */
  #spentMs = 0;
  /** Milliseconds of the last pass. */
  #staleMs = 0;
  #passCount = 0;

  /** @param zero digest of a block of zeros */
  constructor(
    memory: DeviceMemory,
    table: BlockTable,
    options: PrecopyOptions,
    digests: { readonly key: DigestKey; readonly digest: BlockDigest; readonly zero: bigint },
    vfid: number,
  ) {
    this.#memory = memory;
    this.#table = table;
    this.#options = options;
    this.#key = digests.key;
    this.#digest = digests.digest;
    this.#zero = digests.zero;
    this.#vfid = vfid;
  }

  /** True when writes may leave no trace: somebody holds a descriptor of the memory. */
  get needed(): boolean {
    return this.#memory.shared;
  }

  /** Times that all of the memory was looked at. */
  get passes(): number {
    return this.#passCount;
  }

  /** Milliseconds that the last pass will take: those of one core, shared out to all threads. */
  get stopMs(): number | undefined {
    if (!this.needed) return 0;
    return this.#passCount === 0 ? undefined : this.#passMs / Math.max(1, this.#options.threads);
  }

  /** Milliseconds for which a change may go unnoticed; undefined when not known yet. */
  get staleMs(): number | undefined {
    return this.needed && this.#passCount === 0 ? undefined : this.#staleMs;
  }

  /** @throws what made a pass fail */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /**
   * Makes ready; nothing was sent yet. The threads are started early: starting them takes longer
   * than the last pass may.
   */
  begin(): void {
    if (!this.needed) return;
    this.#scanPool();
    this.#because = this.#watchOut();
  }

  /** A block was sent: a copy of what it held. */
  sent(block: number): void {
    if (this.#watch !== undefined) this.#local?.noteMapped(block);
  }

  /** Lets the passes begin that go on until the VF is stopped. */
  beginPasses(): void {
    if (this.#passes !== undefined || !this.needed || this.#over) return;
    this.#passes = this.#keepPassing().catch((error: unknown) => {
      this.#failure = error;
    });
  }

  /**
   * The VF stands still: the last pass, on all cores.
   * @throws {Fault} EIO when a thread failed
   */
  async lastPass(): Promise<VramLastPass> {
    this.#over = true;
    this.#timer?.();
    await this.#pool?.stop();
    await this.#passes;
    this.check();
    const startedAt = performance.now();
    await this.#pass('all');
    const compared = this.#table.control[CONTROL.COMPARED] ?? 0;
    const because = this.#because;
    return {
      find: because === undefined ? 'page-tables' : 'digests',
      ...(because === undefined ? {} : { because }),
      ms: performance.now() - startedAt,
      comparedBytes: compared * BLOCK_SIZE,
    };
  }

  /** The VF runs on after {@link lastPass}. */
  resume(): void {
    this.#over = false;
    this.#passes = undefined;
  }

  /** Idempotent. */
  close(): void {
    this.#over = true;
    this.#timer?.();
    void this.#pool?.close().then(() => {
      closeFd(this.#fd);
      this.#fd = -1;
      this.#held = undefined;
    });
  }

  /** @returns why page tables are not to be relied on */
  #watchOut(): string | undefined {
    const { find = 'auto', vmmPid } = this.#options;
    if (find === 'digests') return 'it was asked for';
    if (!tellsWhoMaps()) return 'the kernel does not tell who maps a page';
    const pid = () => vmmPid?.(this.#vfid);
    try {
      this.#watch = new ZapWatch(this.#fd, this.#memory.size, find === 'auto' ? pid : undefined);
      return undefined;
    } catch (error) {
      return String(error);
    }
  }

  /**
   * One pass. By page tables, unless something happened that they may have forgotten: then all
   * blocks are compared.
   * @returns blocks that were found changed, undefined when the pass was called off
   */
  async #pass(scope: ScanScope, percent?: number): Promise<number | undefined> {
    const pool = this.#scanPool();
    if (this.#watch === undefined) return await pool.pass({ scope, find: 'digests' }, percent);
    const found = await pool.pass({ scope, find: 'page-tables' }, percent);
    // Also after half a pass: what it noticed it does not notice again.
    if (this.#table.control[CONTROL.VANISHED] !== 0) this.#owed ??= 'the VMM unmapped memory';
    if (found === undefined) return undefined;
    this.#owed ??= this.#watch.look();
    this.#because = this.#owed;
    if (this.#owed === undefined) return found;
    const rest = await pool.pass({ scope, find: 'digests' }, percent);
    if (rest === undefined) return undefined;
    this.#owed = undefined;
    return found + rest;
  }

  async #keepPassing(): Promise<void> {
    while (!this.#over) {
      const startedAt = performance.now();
      const percent = this.#percent(startedAt);
      if ((await this.#pass('sent', percent)) === undefined) return;
      this.#passCount++;
      this.#staleMs = performance.now() - startedAt;
      this.#passMs = (this.#staleMs * percent) / WHOLE_CORE;
      this.#spentMs += this.#passMs;
      await this.#rest(PASS_INTERVAL_MS - this.#staleMs);
    }
  }

  /**
   * Percent of a core for the next pass: the budget, or all cores but one while what was saved of the
   * budget so far pays for that. The first pass of sending saves all of it, and the passes after it
   * are those that make the last one short.
   */
  #percent(now: number): number {
    const { threads, budgetPercent } = this.#options;
    const savedMs = ((now - this.#beganAt) * budgetPercent) / WHOLE_CORE - this.#spentMs;
    const guess = GUESSED_BYTES_PER_MS[this.#watch === undefined ? 'digests' : 'page-tables'];
    const costMs = this.#passCount === 0 ? this.#memory.size / guess : this.#passMs;
    const most = WHOLE_CORE * Math.max(1, threads - 1);
    return savedMs < costMs ? Math.min(budgetPercent, most) : most;
  }

  #rest(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(ms, 0));
      this.#timer = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #scanPool(): ScanPool {
    if (this.#pool !== undefined) return this.#pool;
    const fd = dupFd(this.#memory.ownFd);
    this.#fd = fd;
    this.#held = this.#memory.view(0, BLOCK_SIZE);
    const address = addressOf(this.#held) as number;
    this.#local = new BlockScanner(this.#table, { address, fd }, this.#digest, this.#zero);
    this.#pool = new ScanPool(this.#table, this.#local, this.#options.threads, {
      memory: this.#table.memory,
      address,
      fd,
      key: this.#key,
      zero: this.#zero,
    });
    return this.#pool;
  }
}
