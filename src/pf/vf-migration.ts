/**
 * The migration session of each VF: at most one, saving or restoring, until it ends.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_pf_migration.c; docs/differences-from-linux.md, 3, 4 and 7.
 */
import { Fault } from '../base/fault.ts';
import { Mutex } from '../base/mutex.ts';
import type { PrecopySession } from './precopy-session.ts';
import type { RestoreSession } from './restore-session.ts';
import type { SaveSession } from './save-session.ts';
import { WaitQueue } from './wait-queue.ts';

/** A save session that began while the VF ran. */
export type PrecopiedSave = SaveSession & { readonly precopy: PrecopySession };

/** The migration data path of one VF. */
export class VfMigration {
  /** Woken whenever a packet or a state of the VF moved. */
  readonly wait = new WaitQueue();
  readonly #vfid: number;
  readonly #lock = new Mutex();
  #save: SaveSession | undefined;
  #restore: RestoreSession | undefined;

  constructor(vfid: number) {
    this.#vfid = vfid;
  }

  /** The restore session, undefined when there is none. */
  get restore(): RestoreSession | undefined {
    return this.#restore;
  }

  /** True while the VF is saved. */
  get saving(): boolean {
    return this.#save !== undefined;
  }

  /** The save session if it began while the VF ran, else undefined. */
  get precopied(): PrecopiedSave | undefined {
    const save = this.#save;
    return save?.precopy === undefined ? undefined : (save as PrecopiedSave);
  }

  /** Begins a session; an earlier one ends. */
  begin(session: { readonly save: SaveSession } | { readonly restore: RestoreSession }): void {
    this.end(new Fault('ENODEV', `a new migration session of VF${this.#vfid} began`));
    if ('save' in session) this.#save = session.save;
    else this.#restore = session.restore;
  }

  /** Ends the session, if there is one; nothing of it stays, and sleepers wake with `reason`. */
  end(reason: Fault): void {
    this.#save?.end(reason);
    this.#restore?.end(reason);
    this.#save = undefined;
    this.#restore = undefined;
    this.wait.wake();
  }

  /** The next bytes of the saved stream. @throws {Fault} ENODEV outside of a save session */
  read(max: number): Promise<readonly Uint8Array[]> {
    return this.#lock.run(async () => {
      if (this.#save === undefined) throw this.#noSession('saved');
      return this.#save.read(max);
    });
  }

  /** Takes bytes of the stream to restore. @throws {Fault} ENODEV outside of a restore session */
  write(source: Uint8Array): Promise<void> {
    return this.#lock.run(async () => {
      if (this.#restore === undefined) throw this.#noSession('restored');
      return this.#restore.write(source);
    });
  }

  /** Where the next bytes to restore belong; undefined when they must be written. */
  window(max: number): Uint8Array | undefined {
    return this.#restore?.window(max);
  }

  /** Notes that bytes are in the last window. @throws {Fault} ENODEV outside of a session */
  async commit(length: number): Promise<void> {
    if (this.#restore === undefined) throw this.#noSession('restored');
    await this.#restore.commit(length);
  }

  #noSession(what: string): Fault {
    return new Fault('ENODEV', `VF${this.#vfid} is not being ${what}`);
  }
}
