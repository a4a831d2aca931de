/**
 * QEMU's own migration of a VM, as its QMP socket shows it: started, watched, gone on with, called
 * off.
 *
 * Source: QEMU qapi/migration.json.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Fault } from '../base/fault.ts';
import type { QmpClient, QmpEvent } from './qmp.ts';
import { vmStatus } from './vm-facts.ts';

/** What of a migration is under way. */
export interface RamProgress {
  readonly transferred: number;
  readonly remaining: number;
  readonly total: number;
}

/** Bytes a second that QEMU may send; its own limit is 128 MiB. */
const BANDWIDTH = 64 * 2 ** 30;
const PROGRESS_MS = 500;
const CANCEL_TIMEOUT_MS = 20_000;
/** States in which a migration is over. */
const OVER = new Set(['none', 'completed', 'failed', 'cancelled']);

interface MigrationInfo {
  readonly status?: string;
  readonly 'error-desc'?: string;
  readonly ram?: {
    readonly transferred: number;
    readonly remaining: number;
    readonly total: number;
  };
}

/** One side of a migration: waits for the states and events that its QEMU tells. */
export class VmMigration {
  readonly qmp: QmpClient;
  readonly #name: string;
  readonly #seen: QmpEvent[] = [];
  readonly #waiters = new Set<() => void>();
  #gone = false;

  /** @param name of the side, for people */
  constructor(qmp: QmpClient, name: string) {
    this.qmp = qmp;
    this.#name = name;
    qmp.events.on((event) => {
      this.#seen.push(event);
      this.#wake();
    });
    void qmp.ended.then(() => {
      this.#gone = true;
      this.#wake();
    });
  }

  /** Forgets what was told so far. */
  forget(): void {
    this.#seen.length = 0;
  }

  /** When an event last came, ms; undefined when it did not. */
  at(name: string): number | undefined {
    return this.#seen.findLast((event) => event.name === name)?.atMs;
  }

  /** When the migration was completed, ms; undefined when it was not. */
  get completedAt(): number | undefined {
    return this.#seen.find(
      ({ name, data }) => name === 'MIGRATION' && data['status'] === 'completed',
    )?.atMs;
  }

  /** Switches capabilities on or off. @throws {Fault} EIO when QEMU does not know one */
  async capabilities(states: Readonly<Record<string, boolean>>): Promise<void> {
    await this.qmp.execute('migrate-set-capabilities', {
      capabilities: Object.entries(states).map(([capability, state]) => ({ capability, state })),
    });
  }

  /** True when QEMU has a capability of this name. @throws {Fault} EIO, ENODEV */
  async knows(capability: string): Promise<boolean> {
    const known = await this.qmp.execute('query-migrate-capabilities');
    return (known as readonly { readonly capability: string }[]).some(
      (each) => each.capability === capability,
    );
  }

  /** Lets QEMU send as fast as it can. @param maxDowntimeMs of which QEMU makes use for RAM */
  async parameters(maxDowntimeMs: number): Promise<void> {
    const limits = { 'max-bandwidth': BANDWIDTH, 'downtime-limit': maxDowntimeMs };
    await this.qmp.execute('migrate-set-parameters', limits);
  }

  /** @throws {Fault} EIO, ENODEV */
  async info(): Promise<MigrationInfo> {
    return (await this.qmp.execute('query-migrate')) as MigrationInfo;
  }

  /**
   * Waits until QEMU tells that the migration is in `status`.
   *
   * @returns when that came, ms
   * @throws {Fault} EIO with QEMU's words when it failed, ECANCELED when it was called off, ENODEV
   * when QEMU is gone
   */
  async until(status: string, signal?: AbortSignal): Promise<number> {
    for (;;) {
      for (const { name, data, atMs } of this.#seen) {
        if (name !== 'MIGRATION') continue;
        if (data['status'] === status) return atMs;
        if (data['status'] === 'failed') throw await this.#failure();
        if (data['status'] === 'cancelled')
          throw new Fault('ECANCELED', `the migration of the ${this.#name} QEMU was called off`);
      }
      await this.#next(signal);
    }
  }

  /** Waits for an event. @throws {Fault} ENODEV, ECANCELED */
  async event(name: string, signal?: AbortSignal): Promise<number> {
    for (;;) {
      const at = this.at(name);
      if (at !== undefined) return at;
      await this.#next(signal);
    }
  }

  /** Tells how far the copy of RAM is, now and then, until `done` resolves. */
  async tell(done: Promise<unknown>, onProgress: (progress: RamProgress) => void): Promise<void> {
    let over = false;
    const end = done.then(
      () => {
        over = true;
      },
      () => {
        over = true;
      },
    );
    while (!over) {
      await Promise.race([end, delay(PROGRESS_MS, undefined, { ref: false })]);
      if (over) return;
      const { ram } = await this.info().catch((): MigrationInfo => ({}));
      if (ram !== undefined) onProgress(ram);
    }
  }

  /**
   * Calls the migration off and lets the guest run on, when it ran: a QEMU that has sent everything
   * keeps its guest stopped until it is told.
   *
   * @param ran whether the guest ran
   * @throws {Fault} ENODEV when QEMU is gone, ETIMEDOUT, EIO
   */
  async callOff(ran: boolean): Promise<void> {
    const end = performance.now() + CANCEL_TIMEOUT_MS;
    for (;;) {
      const { status = 'none' } = await this.info();
      if (OVER.has(status)) break;
      if (performance.now() > end)
        throw new Fault('ETIMEDOUT', `the migration of the ${this.#name} QEMU does not end`);
      await this.qmp.execute('migrate_cancel');
      await delay(5);
    }
    while ((await vmStatus(this.qmp)) === 'finish-migrate') {
      if (performance.now() > end)
        throw new Fault('ETIMEDOUT', `the guest of the ${this.#name} QEMU stays in its migration`);
      await delay(5);
    }
    if (ran && (await vmStatus(this.qmp)) === 'postmigrate') await this.qmp.execute('cont');
  }

  async #next(signal?: AbortSignal): Promise<void> {
    if (this.#gone) throw new Fault('ENODEV', `the ${this.#name} QEMU is gone`);
    if (signal?.aborted === true) throw new Fault('ECANCELED', 'the move was called off');
    await new Promise<void>((resolve) => {
      const wake = () => {
        this.#waiters.delete(wake);
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiters.add(wake);
      signal?.addEventListener('abort', wake, { once: true });
    });
  }

  async #failure(): Promise<Fault> {
    const { 'error-desc': words } = await this.info().catch((): MigrationInfo => ({}));
    return new Fault(
      'EIO',
      `the migration of the ${this.#name} QEMU failed: ${words ?? 'no reason given'}`,
    );
  }

  #wake(): void {
    for (const wake of [...this.#waiters]) wake();
  }
}
