/**
 * Re-homing: a served VF moves to another VF, of the same or another emulated PF, under the VMM that
 * uses it. Its state goes through the migration states and the stream; the VMM's use of it (see
 * src/vfio-pci/attachment.ts) and the memory that the VMM has mapped are handed over.
 */
import { Fault, toFault } from '../base/fault.ts';
import { compareProfiles } from '../migration/compatibility.ts';
import { MIG_STATE, migStateName } from '../vfio/migration-state.ts';
import type { MigrationData } from '../vfio/vfio-device.ts';
import type { XeVfioPci } from '../xe-vfio-pci/xe-vfio-pci.ts';
import type { EmulatedHost } from './emulated-host.ts';

/** Bytes that are read of the stream at a time. */
const READ_SIZE = 16 * 2 ** 20;

/** Bytes of VRAM that memory is found for at a time: some milliseconds. */
const POPULATE_STEP = 8 * 2 ** 20;

/** A VF of an emulated PF and the device that is open on it. */
export interface HomedVf {
  readonly host: EmulatedHost;
  readonly vfid: number;
  readonly device: XeVfioPci;
}

/** The server of the VF that moves. */
export interface HeldServer {
  /** Holds the VMM's messages until the returned function is called. @throws {Fault} EBUSY */
  hold(): Promise<() => void>;
  /** Serves another device from now on. */
  swapDevice(device: XeVfioPci): void;
}

/** How to move. */
export interface RehomeOptions {
  /** The guest's driver is told nothing and has nothing to recover. */
  readonly transparent: boolean;
  /** For negative controls: changes what goes over, undefined keeps it back. */
  readonly tamper?: ((part: Uint8Array) => Uint8Array | undefined) | undefined;
  /** Called when the target runs, before the VMM is served again. */
  readonly moved?: (() => void) | undefined;
}

/** How long the guest's accesses were held, and by what. Milliseconds. */
export interface RehomeTimes {
  /** From the first held message to the last; what follows are its parts. */
  readonly holdMs: number;
  /** Until the source was in STOP_COPY. */
  readonly stopMs: number;
  /** The stream from the source to the target. */
  readonly copyMs: number;
  /** Until the target had checked and applied all of it. */
  readonly loadMs: number;
  /** Handing over interrupts, guest memory and mapped memory. */
  readonly swapMs: number;
  /** Until the target was RUNNING. */
  readonly runMs: number;
  /** Bytes of the stream. */
  readonly bytes: number;
}

/**
 * Refuses a move that would fail or break the guest, before anything stops.
 *
 * @throws {Fault} EINVAL when the VFs differ in what the guest has seen, and with `transparent` also
 * when the GGTT base differs; without it EBUSY while the guest's driver starts or leaves
 */
export function checkRehome(
  source: HomedVf,
  target: Omit<HomedVf, 'device'>,
  transparent: boolean,
): void {
  const { host, vfid } = source;
  const mismatches = compareProfiles(host.profile(vfid), target.host.profile(target.vfid));
  const [blocking] = mismatches.filter(({ blocks }) => blocks);
  if (blocking !== undefined) {
    const { field, source: here, target: there, consequence } = blocking;
    throw new Fault('EINVAL', `${field} is ${here} here and ${there} there: ${consequence}`);
  }
  if (!transparent) {
    mustBeReady(source);
    return;
  }
  const [from, to] = [host.gpu.ggttStart(vfid), target.host.gpu.ggttStart(target.vfid)];
  if (from !== to)
    throw new Fault(
      'EINVAL',
      `the GGTT of the target begins at ${hex(to)}, that of the VF at ${hex(from)}: its driver has to know`,
      { hint: 'choose the VF with the same number of another PF, or leave --transparent out' },
    );
}

/**
 * Stock xe would fail to start, or take the guest's kernel with it, were it moved at such a time.
 * @throws {Fault} EBUSY
 */
function mustBeReady({ host, vfid }: HomedVf): void {
  if (host.gpu.unready(vfid))
    throw new Fault(
      'EBUSY',
      "the guest's driver is starting or leaving and cannot recover from a move",
      {
        hint: 'try again in a moment; a move with --transparent needs no recovery',
      },
    );
}

/**
 * Moves `source` to `target`, whose device was opened for this. On success the source has been reset
 * and its device closed; on any failure it runs on as before and the target's device is closed.
 *
 * @throws {Fault} EBUSY while somebody else moves the state; what a device says
 */
export async function rehome(
  source: HomedVf,
  target: HomedVf,
  server: HeldServer,
  options: RehomeOptions,
): Promise<RehomeTimes> {
  const move = new Move(source, target, server);
  let release: (() => void) | undefined;
  try {
    const file = await move.prepare();
    release = await server.hold();
    await move.mustRun();
    // The guest ran until now.
    if (!options.transparent) mustBeReady(source);
    const times = await move.run(file, options);
    options.moved?.();
    release();
    await move.finish();
    return times;
  } catch (error) {
    try {
      await move.rollBack(error);
    } finally {
      release?.();
      await target.device.close();
    }
    throw error;
  }
}

class Move {
  readonly #source: HomedVf;
  readonly #target: HomedVf;
  readonly #server: HeldServer;
  #stopped = false;
  /** Lets go of the target's own memory. */
  #discard = () => {};
  #swapped = false;
  #adopted = false;

  constructor(source: HomedVf, target: HomedVf, server: HeldServer) {
    this.#source = source;
    this.#target = target;
    this.#server = server;
  }

  /** Makes the target ready to take data, while the guest runs. */
  async prepare(): Promise<MigrationData> {
    const { device } = this.#target;
    for (const vf of [this.#source, this.#target]) await populateVram(vf);
    return await begin(device, MIG_STATE.RESUMING);
  }

  /** @throws {Fault} EBUSY unless the source is RUNNING: another state is somebody's migration */
  async mustRun(): Promise<void> {
    const state = await this.#source.device.migrationState();
    if (state !== MIG_STATE.RUNNING)
      throw new Fault('EBUSY', `the VF is in ${migStateName(state)}, not RUNNING`);
  }

  async run(
    to: MigrationData,
    { transparent, tamper }: Pick<RehomeOptions, 'transparent' | 'tamper'>,
  ): Promise<RehomeTimes> {
    const { host, vfid, device } = this.#source;
    const there = this.#target;
    const laps = [performance.now()];
    // Before the stream is read: what differs from it later was written by the guest's processors.
    const memory = host.gpu.barMemory(vfid);
    let bytes: number;
    try {
      this.#stopped = true;
      const from = await begin(device, MIG_STATE.STOP_COPY);
      laps.push(performance.now());
      bytes = await copy(from, to, tamper);
      laps.push(performance.now());
      await there.device.setMigrationState(MIG_STATE.STOP);
      // The stream has no place for it, and a driver that starts asks for more on the strength of it.
      there.host.pf.service.carry(there.vfid, host.relayVersion(vfid));
      if (transparent) there.host.gpu.resumeUnnoticed(there.vfid);
      laps.push(performance.now());
    } catch (error) {
      memory.ggtt.memfd.close();
      memory.vram?.close();
      throw error;
    }
    this.#adopted = true;
    this.#discard = there.host.gpu.adoptBarMemory(there.vfid, memory);
    this.#swap(device, there.device);
    this.#swapped = true;
    laps.push(performance.now());
    await there.device.setMigrationState(MIG_STATE.RUNNING);
    laps.push(performance.now());
    const [stopMs = 0, copyMs = 0, loadMs = 0, swapMs = 0, runMs = 0] = laps
      .slice(1)
      .map((at, index) => at - (laps[index] as number));
    const holdMs = (laps.at(-1) as number) - (laps[0] as number);
    return { holdMs, stopMs, copyMs, loadMs, swapMs, runMs, bytes };
  }

  /** The target runs: what is left of the source goes. */
  async finish(): Promise<void> {
    const { host, vfid, device } = this.#source;
    this.#discard();
    host.gpu.abandonBarMemory(vfid);
    await device.reset();
    await device.close();
  }

  /** Lets the source run on. @throws {Fault} what it says, with `cause`, when it does not */
  async rollBack(cause: unknown): Promise<void> {
    const { device } = this.#source;
    const there = this.#target;
    if (this.#swapped) this.#swap(there.device, device);
    this.#discard();
    if (!this.#stopped) return;
    if (this.#adopted) there.host.gpu.abandonBarMemory(there.vfid);
    try {
      await device.setMigrationState(MIG_STATE.RUNNING);
    } catch (error) {
      const { code, message } = toFault(error);
      throw new Fault(code, `the VF does not run again: ${message}`, { cause });
    }
  }

  /** Gives the VMM's use of `from` to `to`; when `to` refuses it, `from` has it again. */
  #swap(from: XeVfioPci, to: XeVfioPci): void {
    const attachment = from.detach();
    try {
      to.attach(attachment);
    } catch (error) {
      from.attach(attachment);
      throw error;
    }
    this.#server.swapDevice(to);
  }
}

async function begin(device: XeVfioPci, state: number): Promise<MigrationData> {
  const data = await device.setMigrationState(state);
  if (data === undefined) throw new Fault('EBUSY', 'the migration state of the VF is not RUNNING');
  return data;
}

/**
 * Has the system find memory for all of a VF's VRAM while the guest runs: both reading and writing the
 * stream touch all of it, and the guest would wait for that.
 */
export async function populateVram({ host, vfid }: Omit<HomedVf, 'device'>): Promise<void> {
  for (let at = 0; host.gpu.populateVram(vfid, at, POPULATE_STEP); at += POPULATE_STEP)
    await new Promise((resolve) => setImmediate(resolve));
}

/** @returns bytes that went over */
async function copy(
  from: MigrationData,
  to: MigrationData,
  tamper: RehomeOptions['tamper'],
): Promise<number> {
  let bytes = 0;
  for (;;) {
    const parts = await from.read(READ_SIZE);
    if (parts.length === 0) return bytes;
    for (const part of parts) {
      const sent = tamper === undefined ? part : tamper(part);
      if (sent === undefined) continue;
      await to.write(sent);
      bytes += sent.length;
    }
  }
}

function hex(address: number): string {
  return `0x${address.toString(16)}`;
}
