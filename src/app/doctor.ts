/** The use case doctor: is this machine fit, and a record of one for us to look at. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../base/fault.ts';
import type { Check } from '../linux/doctor-check.ts';
import { gpuChecks } from '../linux/doctor-gpu.ts';
import { kernelChecks } from '../linux/doctor-kernel.ts';
import { type MachineRecord, recordPf } from '../linux/doctor-record.ts';
import { machineAt } from '../linux/sysfs-machine.ts';
import { parseBdf } from '../linux/sysfs-pci.ts';
import { inventory } from '../linux/xe-inventory.ts';

export type { Check } from '../linux/doctor-check.ts';

/** Looks at the machine and at its PFs, or at one; changes nothing. */
export async function examine(pf?: string, root?: string): Promise<Check[]> {
  const machine = machineAt(root);
  const bdf = pf === undefined ? undefined : parseBdf(pf);
  return [...(await kernelChecks(machine)), ...(await gpuChecks(machine, bdf))];
}

/** What to record. */
export interface RecordOptions {
  /** The PF; the only one there is unless given. */
  readonly pf?: string | undefined;
  /** The VF to pause, save and resume; none unless given. */
  readonly vf?: number | undefined;
  readonly root?: string | undefined;
}

/** A record that was written. */
export interface RecordResult {
  readonly path: string;
  readonly pf: string;
  readonly files: number;
  readonly cycle: MachineRecord['cycle'];
}

/**
 * Writes DIRECTORY/record.json for a PF.
 *
 * @throws {Fault} ENODEV without a PF; EINVAL when there are several and none was named; what
 * opening the VF throws
 */
export async function record(directory: string, options: RecordOptions): Promise<RecordResult> {
  const machine = machineAt(options.root);
  const pf = options.pf === undefined ? await onlyPf(options.root) : parseBdf(options.pf);
  await mkdir(directory, { recursive: true });
  const checks = await examine(pf, options.root);
  const recorded = await recordPf(machine, pf, options.vf);
  const path = join(directory, 'record.json');
  const document = { schema: 1, pf, checks, ...recorded };
  await writeFile(path, `${JSON.stringify(document, null, 1)}\n`);
  return { path, pf, files: recorded.files.length, cycle: recorded.cycle };
}

async function onlyPf(root?: string): Promise<string> {
  const found = await inventory(machineAt(root));
  const [first] = found;
  if (first === undefined)
    throw new Fault('ENODEV', 'this machine shows no Intel GPU with SR-IOV', {
      hint: 'xe-vfio doctor says what is missing',
    });
  if (found.length === 1) return first.bdf;
  throw new Fault('EINVAL', `there are ${found.length} PFs: name one`, {
    hint: `xe-vfio doctor ${first.bdf} --record DIR`,
  });
}
