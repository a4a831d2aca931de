/** The target of a migration behind a receiver on another host, as a session sees it. */
import { Fault } from '../base/fault.ts';
import { MIG_STATE, type MigState } from '../vfio/migration-state.ts';
import type { MigrationData, PrecopyInfo } from '../vfio/vfio-device.ts';
import type { NetworkLink } from './network-link.ts';
import type { MigratableDevice, MigrationEnd } from './session-end.ts';

/**
 * The end of a migration that a link leads to.
 *
 * The rules of src/migration/session.ts hold as they are: this session alone says what the target
 * does, and a receiver that lost it never lets the target run by itself.
 */
export function networkTarget(link: NetworkLink): MigrationEnd {
  const device = new NetworkDevice(link);
  return {
    device,
    profile: link.welcome.profile,
    probe: async () => {
      await link.revive();
      const { state, gone } = await link.request({ op: 'state' });
      return gone === true ? undefined : knownState(state);
    },
  };
}

/** @throws {Fault} EPROTO for no state */
function knownState(state: MigState | undefined): MigState {
  if (state === undefined) throw new Fault('EPROTO', 'the receiver does not tell the state');
  return state;
}

/** A VF whose migration state is changed by requests over a link. */
class NetworkDevice implements MigratableDevice {
  readonly #link: NetworkLink;

  constructor(link: NetworkLink) {
    this.#link = link;
  }

  get migrationFlags(): number {
    return this.#link.welcome.migrationFlags;
  }

  async migrationState(): Promise<MigState> {
    const { state, gone } = await this.#link.request({ op: 'state' });
    if (gone === true) throw new Fault('ENOTCONN', 'nobody serves the target VF any more');
    return knownState(state);
  }

  async setMigrationState(wanted: number): Promise<MigrationData | undefined> {
    const state = Object.values(MIG_STATE).find((known) => known === wanted);
    if (state === undefined) throw new Fault('EINVAL', `there is no migration state ${wanted}`);
    const { sender } = this.#link;
    // Nobody may take the source back by itself once the target may run.
    if (state === MIG_STATE.RUNNING) this.#link.holdOn();
    const { opened } = await this.#link.request({ op: 'set', state, dataEnd: sender.written });
    sender.open();
    return opened === true ? new NetworkData(this.#link) : undefined;
  }

  async reset(): Promise<void> {
    this.#link.sender.fail(new Fault('ENODEV', 'the target is reset'));
    await this.#link.request({ op: 'reset' });
  }

  async migrationDataSize(): Promise<number> {
    throw new Fault('EINVAL', 'a target has no size of data');
  }

  async precopyInfo(): Promise<PrecopyInfo> {
    throw new Fault('EINVAL', 'a target is not in pre-copy');
  }

  enablePrecopyInfoV2(): void {
    throw new Fault('EINVAL', 'a target has no pre-copy');
  }
}

/** The data file of RESUMING at the other host. */
class NetworkData implements MigrationData {
  readonly direction = 'write';
  readonly #link: NetworkLink;
  #closed = false;

  constructor(link: NetworkLink) {
    this.#link = link;
  }

  read(): Promise<readonly Uint8Array[]> {
    return Promise.reject(new Fault('EINVAL', 'a device that is loaded gives no data'));
  }

  /** Takes `source`; what the target says of it may come with a later write or change of state. */
  async write(source: Uint8Array): Promise<void> {
    if (this.#closed) throw new Fault('ENODEV', 'the migration session has ended');
    await this.#link.sender.write(source);
  }

  window(): undefined {
    return undefined;
  }

  commit(): Promise<void> {
    return Promise.reject(new Fault('EINVAL', 'there is no window to commit'));
  }

  /** What was written still arrives: the next change of state waits for it. */
  close(): void {
    this.#closed = true;
  }
}
