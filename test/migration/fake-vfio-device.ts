import { Fault } from '../../src/base/fault.ts';
import { MIG_STATE, type MigState, nextState } from '../../src/vfio/migration-state.ts';
import { VFIO_MIGRATION } from '../../src/vfio/uapi.ts';
import type { MigrationData, VfioDevice } from '../../src/vfio/vfio-device.ts';

/** How a call of the fake goes wrong. */
export type FakeFailure =
  /** The device refuses and stays as it is. */
  | 'refuse'
  /** The device does it, but the answer never comes, and no later call gets through either. */
  | 'lost-after'
  /** The way to the device is cut before it hears of it. */
  | 'lost-before';

/** The calls that a session makes, and what is told to go wrong about them. */
export class FakeVfioDevice implements Partial<VfioDevice> {
  readonly migrationFlags: number;
  state: MigState = MIG_STATE.RUNNING;
  /** What the VF holds. */
  content: Uint8Array;
  /** Names of all calls that came, and arcs as `RUNNING->STOP`-like pairs of numbers. */
  readonly calls: string[] = [];
  readonly states: MigState[] = [MIG_STATE.RUNNING];
  resets = 0;
  /** Bytes handed out beyond or short of what is announced. */
  extraBytes = 0;
  lost = false;
  #received: Uint8Array[] = [];
  #failures = new Map<number, FakeFailure>();

  constructor(content: Uint8Array, flags = VFIO_MIGRATION.STOP_COPY | VFIO_MIGRATION.P2P) {
    this.content = content;
    this.migrationFlags = flags;
  }

  /** Makes the n-th call (0-based) go wrong. */
  failAt(call: number, failure: FakeFailure): void {
    this.#failures.set(call, failure);
  }

  async migrationState(): Promise<MigState> {
    return this.#call('GET state', () => this.state);
  }

  async setMigrationState(wanted: number): Promise<MigrationData | undefined> {
    return this.#call(`SET ${wanted}`, () => this.#walk(wanted));
  }

  async migrationDataSize(): Promise<number> {
    return this.#call('GET size', () => this.content.length);
  }

  async reset(): Promise<void> {
    this.#call('RESET', () => {
      this.content = new Uint8Array();
      this.#received = [];
      this.resets++;
      this.#enter(MIG_STATE.RUNNING);
    });
  }

  #walk(wanted: number): MigrationData | undefined {
    let data: MigrationData | undefined;
    while (this.state !== wanted) {
      const next = nextState(this.state, wanted, this.migrationFlags);
      data = undefined;
      if (this.state === MIG_STATE.RESUMING) this.#load();
      if (next === MIG_STATE.STOP_COPY) data = this.#readFile();
      if (next === MIG_STATE.RESUMING) data = this.#writeFile();
      this.#enter(next);
    }
    return data;
  }

  #enter(state: MigState): void {
    this.state = state;
    this.states.push(state);
  }

  #load(): void {
    this.content = Buffer.concat(this.#received);
    this.#received = [];
  }

  #readFile(): MigrationData {
    const bytes = Buffer.concat([this.content, Buffer.alloc(Math.max(this.extraBytes, 0))]);
    const end = bytes.length + Math.min(this.extraBytes, 0);
    let at = 0;
    return fakeFile('read', {
      read: async (max) =>
        this.#call('READ', () => {
          const piece = bytes.subarray(at, Math.min(at + Math.min(max, 1000), end));
          at += piece.length;
          return piece.length > 0 ? [piece] : [];
        }),
    });
  }

  #writeFile(): MigrationData {
    return fakeFile('write', {
      write: async (source) =>
        this.#call('WRITE', () => {
          this.#received.push(Uint8Array.from(source));
        }),
    });
  }

  #call<T>(name: string, action: () => T): T {
    const failure = this.#failures.get(this.calls.length);
    this.calls.push(name);
    if (failure === 'lost-before') this.lost = true;
    if (this.lost) throw new Fault('ECONNRESET', 'the server is not there any more');
    if (failure === 'refuse') throw new Fault('EIO', 'the device refused');
    const result = action();
    if (failure === 'lost-after') {
      this.lost = true;
      throw new Fault('ECONNRESET', 'the server is not there any more');
    }
    return result;
  }

  /** As the contract; a session must not need the calls that are not here. */
  get device(): VfioDevice {
    return this as unknown as VfioDevice;
  }
}

function fakeFile(
  direction: 'read' | 'write',
  calls: Partial<Pick<MigrationData, 'read' | 'write'>>,
): MigrationData {
  const refuse = async () => {
    throw new Fault('EINVAL', `this is a ${direction} file`);
  };
  return {
    direction,
    read: calls.read ?? refuse,
    write: calls.write ?? refuse,
    window: () => undefined,
    commit: refuse,
    close: () => {},
  };
}
