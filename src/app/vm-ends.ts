/** Reaching a VM: its QEMU, what that is, and the VF in it. */
import { Fault, MigrationFault, type MigrationPlace } from '../base/fault.ts';
import { QmpClient } from './qmp.ts';
import { connectVf, reportRollback, type VfConnection } from './vf-connection.ts';
import { type VmFacts, vmFacts } from './vm-facts.ts';

/** A QEMU that answers. */
export interface VmEnd {
  readonly qmp: QmpClient;
  readonly facts: VmFacts;
}

/** What was opened, to be closed in the end. */
export class VmClosers {
  readonly #closers: (() => unknown)[] = [];

  /**
   * Reaches a QEMU and asks it what it is.
   *
   * @param address its QMP socket
   * @throws {Fault} ENOENT, ECONNREFUSED, ETIMEDOUT, ENODEV, EIO
   */
  async openQemu(address: string): Promise<VmEnd> {
    const qmp = await QmpClient.connect(address);
    this.#closers.push(() => qmp.close());
    return { qmp, facts: await vmFacts(qmp) };
  }

  /**
   * Reaches the VF of a VM.
   *
   * @param told path of its socket when a person has told it; else QEMU says
   * @param option by which a person can tell it
   * @throws {Fault} ENOENT when nobody says where; ENOENT, ECONNREFUSED when nobody serves it there
   */
  async openVf(facts: VmFacts, told: string | undefined, option: string): Promise<VfConnection> {
    const path = told ?? facts.vfs[0]?.socket;
    if (path === undefined)
      throw new Fault('ENOENT', 'QEMU does not tell where its VF is served', {
        hint: `name the socket with ${option}`,
      });
    const vf = await connectVf(path);
    this.#closers.push(() => vf.close());
    return vf;
  }

  /** Closes everything, the last first. */
  async close(): Promise<void> {
    for (const close of this.#closers.splice(0).reverse()) await close();
  }
}

/**
 * Tells the servers of the VFs that what was begun failed, and how its ends were left.
 *
 * @param place the step that failed, and the ends
 * @param hint what can be done next, instead of what `fault` says
 * @param paths of the VFs' sockets
 * @returns the fault to tell a person
 */
export async function toldFault(
  fault: Fault,
  place: Omit<MigrationPlace, 'role'>,
  hint: string | undefined,
  paths: readonly string[],
): Promise<MigrationFault> {
  const role = fault instanceof MigrationFault ? fault.role : 'tool';
  const told = new MigrationFault(
    fault.code,
    `${place.phase}: ${fault.message}`,
    { ...place, role },
    { ...(hint === undefined ? {} : { hint }), cause: fault },
  );
  for (const path of paths) await reportRollback(path, told);
  return told;
}
