/** Migration of the conformance suite's device: its state, its streams, and failing when told to. */
import { knownErrno } from '../../src/base/errno.ts';
import { DeviceFault, Fault } from '../../src/base/fault.ts';
import { MIG_STATE, type MigState, nextState } from '../../src/vfio/migration-state.ts';
import { VFIO_MIGRATION } from '../../src/vfio/uapi.ts';
import type { MigrationData, PrecopyInfo } from '../../src/vfio/vfio-device.ts';
import { BAR0 } from './case-registers.ts';
import { CaseLoad, CaseSave } from './case-stream.ts';

/** The device as far as its migration is concerned. */
export interface CaseMigrationPort {
  get(register: number): number;
  /** What the client told the device to do; nothing when it cannot be steered. */
  told(register: number): number;
  set(register: number, value: number): void;
  /** Notes down an arc: from state in the upper four bits, to state in the lower ones. */
  logArc(at: number, arc: number): void;
  /** Bytes of the stream. */
  streamLength(): number;
  /** Takes as long as the device was told to. */
  dawdle(): Promise<void>;
}

/** State and streams. */
export class CaseMigration {
  readonly #flags: number;
  readonly #device: CaseMigrationPort;
  #state: MigState = MIG_STATE.RUNNING;
  #save: CaseSave | undefined;
  #load: CaseLoad | undefined;

  /** @param flags `VFIO_MIGRATION` bits */
  constructor(flags: number, device: CaseMigrationPort) {
    this.#flags = flags;
    this.#device = device;
  }

  /** Lets go of both streams. */
  endFiles(): void {
    this.#save?.end();
    this.#load?.end();
    this.#save = undefined;
    this.#load = undefined;
  }

  #needMigration(): void {
    if (this.#flags === 0) throw new Fault('ENOTTY', 'no migration');
  }

  /** Running again, and no stream. */
  reset(): void {
    this.endFiles();
    this.#state = MIG_STATE.RUNNING;
  }

  /** @throws {Fault} ENOTTY without migration */
  get state(): MigState {
    this.#needMigration();
    return this.#state;
  }

  /** Walks to `state` arc by arc. @throws {Fault} what an arc was told to fail with */
  async set(state: number): Promise<MigrationData | undefined> {
    this.#needMigration();
    let file: MigrationData | undefined;
    nextState(this.#state, state, this.#flags);
    do {
      const next = nextState(this.#state, state, this.#flags);
      if (next === this.#state) break;
      file = await this.#arc(this.#state, next);
      this.#state = next;
    } while (this.#state !== state);
    return file;
  }

  async #arc(from: MigState, to: MigState): Promise<MigrationData | undefined> {
    const count = this.#device.get(BAR0.ARC_COUNT);
    this.#device.logArc(count % 64, (from << 4) | to);
    this.#device.set(BAR0.ARC_COUNT, count + 1);
    await this.#device.dawdle();
    const errno = this.#device.told(BAR0.FAIL_ARC);
    if (errno !== 0) {
      this.#device.set(BAR0.FAIL_ARC, 0);
      if (this.#device.told(BAR0.FAIL_KIND) === 0)
        throw new Fault(knownErrno(errno), 'told to fail');
      this.endFiles();
      this.#state = MIG_STATE.ERROR;
      throw new DeviceFault(knownErrno(errno), 'told to break');
    }
    return this.#move(from, to);
  }

  #move(from: MigState, to: MigState): MigrationData | undefined {
    const { RUNNING, STOP, STOP_COPY, RESUMING, PRE_COPY, PRE_COPY_P2P } = MIG_STATE;
    const saving = (state: MigState) =>
      state === STOP_COPY || state === PRE_COPY || state === PRE_COPY_P2P;
    if (saving(to)) {
      this.#save ??= new CaseSave(this.#device.get(BAR0.SCRATCH), this.#device.streamLength());
      if (to === STOP_COPY) this.#save.finish();
      return this.#save;
    }
    if (to === RESUMING) {
      this.#load = new CaseLoad(() => {
        const errno = this.#device.told(BAR0.FAIL_WRITE);
        if (errno !== 0) throw new Fault(knownErrno(errno), 'told to fail');
      });
      return this.#load;
    }
    if (from === RESUMING && to === STOP) {
      const scratch = this.#load?.result();
      this.endFiles();
      if (scratch === undefined) {
        this.#state = MIG_STATE.ERROR;
        throw new DeviceFault('EINVAL', 'the stream is not complete');
      }
      this.#device.set(BAR0.SCRATCH, scratch);
    } else if (to === RUNNING || to === STOP || to === MIG_STATE.RUNNING_P2P) {
      this.endFiles();
    }
    return undefined;
  }

  /** Bytes of the whole stream. */
  dataSize(): number {
    this.#needMigration();
    return CaseSave.size(this.#device.streamLength());
  }

  /** @throws {Fault} ENOTTY without pre-copy, EINVAL outside of it */
  precopyInfo(): PrecopyInfo {
    if ((this.#flags & VFIO_MIGRATION.PRE_COPY) === 0) throw new Fault('ENOTTY', 'no pre-copy');
    if (this.#state !== MIG_STATE.PRE_COPY && this.#state !== MIG_STATE.PRE_COPY_P2P)
      throw new Fault('EINVAL', 'not in pre-copy');
    return { initialBytes: this.#save?.initialLeft ?? 0, dirtyBytes: 0, reinit: false };
  }
}
