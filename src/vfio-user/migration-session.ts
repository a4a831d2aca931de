/**
 * Who moves the device's state right now: one connection at a time, from its first step away from
 * RUNNING until the device runs again or the connection is gone.
 */
import { Fault } from '../base/fault.ts';
import { MIG_STATE, type MigState, migStateName } from '../vfio/migration-state.ts';
import type { MigrationData, VfioDevice } from '../vfio/vfio-device.ts';

const { RUNNING, STOP, RESUMING, ERROR, STOP_COPY, PRE_COPY, PRE_COPY_P2P } = MIG_STATE;
const DATA_STATES: readonly MigState[] = [STOP_COPY, PRE_COPY, PRE_COPY_P2P, RESUMING];

/** What became of a session whose holder vanished. */
export interface RollBack {
  readonly from: string;
  readonly action: 'resumed' | 'kept' | 'reset' | 'failed';
  readonly error?: unknown;
}

/** The one migration session of a device. */
export class MigrationSession {
  readonly #device: VfioDevice;
  #holder: object | undefined;
  #data: MigrationData | undefined;
  #changing: Promise<unknown> = Promise.resolve();
  #fence: Fault | undefined;

  constructor(device: VfioDevice) {
    this.#device = device;
  }

  /** True while a connection other than `client` moves the state. */
  heldByOther(client: object): boolean {
    return this.#holder !== undefined && this.#holder !== client;
  }

  /** True while anybody moves the state. */
  get active(): boolean {
    return this.#holder !== undefined;
  }

  heldBy(client: object): boolean {
    return this.#holder === client;
  }

  /**
   * Walks to `state` for `client`.
   *
   * @throws {Fault} EBUSY while another connection holds the session; what the device says
   */
  setState(client: object, state: number): Promise<void> {
    if (this.heldByOther(client))
      return Promise.reject(
        new Fault('EBUSY', 'another connection is migrating this device', {
          hint: 'wait until that migration has ended',
        }),
      );
    if (this.#fence !== undefined && state !== STOP) return Promise.reject(this.#fence);
    this.#holder = client;
    const done = this.#walk(client, state);
    this.#changing = done.catch(() => {});
    return done;
  }

  async #walk(client: object, state: number): Promise<void> {
    try {
      const data = await this.#device.setMigrationState(state);
      if (data !== undefined) {
        this.#data?.close();
        this.#data = data;
      }
    } finally {
      await this.#settle(client);
    }
  }

  /** Brings the session in line with the state that the device is in now. */
  async #settle(client: object): Promise<void> {
    const state = await this.#device.migrationState().catch(() => undefined);
    if (state === undefined || !DATA_STATES.includes(state)) this.#dropData();
    if (state === RUNNING && this.#holder === client) this.#holder = undefined;
  }

  #dropData(): void {
    this.#data?.close();
    this.#data = undefined;
  }

  /**
   * Makes sure that the device does not run again before it is reset: its state runs elsewhere.
   *
   * @throws {Fault} EINVAL when it is not in STOP
   */
  async fence(): Promise<void> {
    const state = await this.#device.migrationState();
    if (state !== STOP)
      throw new Fault('EINVAL', `the VF is in ${migStateName(state)}, not in STOP`);
    this.#fence = new Fault('EPERM', 'the state of this VF was moved elsewhere and runs there', {
      hint: 'reset the VF before it is used again',
    });
  }

  /** Lets the device run again: its state runs nowhere else. Idempotent. */
  unfence(): void {
    this.#fence = undefined;
  }

  /** Tells that the device was reset, which ends a session of `client`. */
  async afterReset(client: object): Promise<void> {
    this.#fence = undefined;
    if (this.#holder === client || this.#holder === undefined) await this.#settle(client);
  }

  /**
   * The data file of `client`.
   *
   * @throws {Fault} EINVAL when the state has none in this direction, EBUSY when the session is
   * another connection's
   */
  data(client: object, direction: MigrationData['direction']): MigrationData {
    if (this.heldByOther(client))
      throw new Fault('EBUSY', 'another connection is migrating this device');
    const data = this.#data;
    if (data === undefined || data.direction !== direction)
      throw new Fault('EINVAL', `no migration data can be ${direction} in this state`);
    return data;
  }

  /**
   * Ends the session of a connection that is gone without touching the device.
   *
   * @returns once no change of state is under way any more
   */
  async drop(client: object): Promise<void> {
    if (this.#holder !== client) return;
    await this.#changing;
    this.#dropData();
    if (this.#holder === client) this.#holder = undefined;
  }

  /**
   * Ends the session of a connection that is gone: a device that was being saved runs again, one
   * that was being loaded or has failed is reset. Until that is done the session belongs to nobody
   * else.
   *
   * STOP is kept: a saved device is in it once its whole state was read, and may run elsewhere by
   * now; a loaded one until it is told to run.
   *
   * @returns what was done, undefined when `client` held no session
   */
  async rollBack(client: object): Promise<RollBack | undefined> {
    if (this.#holder !== client) return undefined;
    await this.#changing;
    if (this.#holder !== client) return undefined;
    const state = await this.#device.migrationState();
    const from = migStateName(state);
    try {
      if (state === STOP || state === RUNNING) return { from, action: 'kept' };
      if (state === RESUMING || state === ERROR) {
        await this.#device.reset();
        return { from, action: 'reset' };
      }
      // Never reset here: that would destroy the only copy of the guest's state.
      await this.#device.setMigrationState(RUNNING);
      return { from, action: 'resumed' };
    } catch (error) {
      return { from, action: 'failed', error };
    } finally {
      this.#dropData();
      this.#holder = undefined;
    }
  }
}
