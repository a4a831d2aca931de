/**
 * What a QEMU is, as far as that decides whether a VM can go from it to another.
 *
 * Source: QEMU qapi/machine.json, qapi/pci.json, qapi/qom.json.
 */
import { Fault } from '../base/fault.ts';
import type { QmpClient } from './qmp.ts';
import type { PciPlace } from './vm-config.ts';
import { mappedBars, pciDevices, type VmBar } from './vm-pci.ts';

/** QEMU's type of the device. */
const VF_TYPE = 'child<vfio-user-pci>';

/** A VF of ours in a VM. */
export interface VmVf {
  /** QEMU's id of the device. */
  readonly id: string;
  /** Slot and function on its bus, as QEMU writes them: `02.0`. */
  readonly address: string;
  /** Undefined while the bridge before it has no bus number: before the firmware has run. */
  readonly place: PciPlace | undefined;
  readonly bars: readonly VmBar[];
  /** Path of its vfio-user socket as QEMU knows it; undefined when it cannot be told. */
  readonly socket: string | undefined;
}

/** A memory backend. */
export interface VmMemory {
  readonly id: string;
  readonly size: number;
  readonly share: boolean;
  /** Of a `memory-backend-file`. */
  readonly path: string | undefined;
}

/** A VM. */
export interface VmFacts {
  /** Of QEMU: `11.1.3`. */
  readonly version: string;
  /** Such as `pc-q35-11.1-machine`. */
  readonly machine: string;
  readonly cpus: number;
  /** Bytes. */
  readonly memory: number;
  readonly backends: readonly VmMemory[];
  readonly vfs: readonly VmVf[];
  /** QEMU's run state: `running`, `inmigrate` ... */
  readonly status: string;
}

/** What of a VM another one has to be alike in. */
export interface VmShape {
  readonly machine: string;
  readonly cpus: number;
  readonly memory: number;
  readonly backends: readonly Pick<VmMemory, 'id' | 'size' | 'share'>[];
  readonly vfs: readonly Pick<VmVf, 'id' | 'address'>[];
}

/** Asks a QEMU what it is. @throws {Fault} EIO, ENODEV */
export async function vmFacts(qmp: QmpClient): Promise<VmFacts> {
  const get = (path: string, property: string) => qmp.execute('qom-get', { path, property });
  const version = (await qmp.execute('query-version')) as {
    qemu: { major: number; minor: number; micro: number };
  };
  const memory = (await qmp.execute('query-memory-size-summary')) as {
    'base-memory': number;
    'plugged-memory'?: number;
  };
  const memdevs = (await qmp.execute('query-memdev')) as readonly {
    id?: string;
    size: number;
    share?: boolean;
  }[];
  const backends: VmMemory[] = [];
  for (const { id = '', size, share = false } of memdevs) {
    const path = await get(`/objects/${id}`, 'mem-path').catch(() => undefined);
    backends.push({ id, size, share, path: typeof path === 'string' ? path : undefined });
  }
  const { major, minor, micro } = version.qemu;
  return {
    version: `${major}.${minor}.${micro}`,
    machine: String(await get('/machine', 'type')),
    cpus: ((await qmp.execute('query-cpus-fast')) as readonly unknown[]).length,
    memory: memory['base-memory'] + (memory['plugged-memory'] ?? 0),
    backends,
    vfs: await vfsOf(qmp),
    status: await vmStatus(qmp),
  };
}

/** QEMU's run state. @throws {Fault} EIO, ENODEV */
export async function vmStatus(qmp: QmpClient): Promise<string> {
  return ((await qmp.execute('query-status')) as { status: string }).status;
}

/** The VFs of a VM. @throws {Fault} EIO, ENODEV */
export async function vfsOf(qmp: QmpClient): Promise<VmVf[]> {
  const names: string[] = [];
  for (const path of ['/machine/peripheral', '/machine/peripheral-anon']) {
    const children = (await qmp.execute('qom-list', { path })) as readonly QomEntry[];
    for (const { name, type } of children) if (type === VF_TYPE) names.push(`${path}/${name}`);
  }
  const devices = await pciDevices(qmp);
  return await Promise.all(
    names.map(async (path) => {
      const id = path.slice(path.lastIndexOf('/') + 1);
      const found = devices.find(({ qdev_id }) => qdev_id === id);
      const properties = (await qmp.execute('qom-list', { path })) as readonly QomEntry[];
      return {
        id,
        address: String(await qmp.execute('qom-get', { path, property: 'addr' })),
        place: found && { bus: found.bus, slot: found.slot, function: found.function },
        bars: found === undefined ? [] : mappedBars(found),
        socket: socketOf(properties),
      };
    }),
  );
}

interface QomEntry {
  readonly name: string;
  readonly type: string;
}

/**
 * The property `socket` cannot be read, but QEMU names the device's memory regions after it:
 * `vfio-user:PATH BAR 0[0]`, with escapes in the path.
 */
function socketOf(properties: readonly QomEntry[]): string | undefined {
  for (const { name } of properties) {
    const plain = name.replace(/\\x([0-9a-f]{2})/g, (_, digits: string) =>
      String.fromCharCode(Number.parseInt(digits, 16)),
    );
    const path = /^vfio-user:(.+?) (?:base )?BAR \d/.exec(plain)?.[1];
    if (path !== undefined) return path;
  }
  return undefined;
}

/**
 * Judges whether a VM can go from one QEMU to another.
 *
 * @throws {Fault} EREMCHG with everything that differs; EBUSY when the target is not waiting;
 * EOPNOTSUPP for more than one VF
 */
export function checkVms(source: VmShape, target: VmFacts): void {
  if (target.status !== 'inmigrate')
    throw new Fault('EBUSY', `the target QEMU is ${target.status}, it does not wait for a VM`, {
      hint: 'start it with the same devices and with -incoming defer',
    });
  if (source.vfs.length === 0) throw new Fault('ENODEV', 'the source QEMU has no vfio-user-pci');
  if (source.vfs.length > 1)
    throw new Fault('EOPNOTSUPP', `the VM has ${source.vfs.length} VFs; only one can be moved`);
  for (const { id } of [...source.vfs, ...target.vfs])
    if (/^device\[\d+\]$/.test(id))
      throw new Fault('EOPNOTSUPP', 'the VF has no id by which QEMU could be asked about it', {
        hint: 'start QEMU with -device vfio-user-pci,id=vf0,...',
      });
  const differs: string[] = [];
  const compare = (what: string, a: unknown, b: unknown) => {
    const [left, right] = [JSON.stringify(a), JSON.stringify(b)];
    if (left !== right) differs.push(`${what} (${left} here, ${right} there)`);
  };
  compare('machine type', source.machine, target.machine);
  compare('CPUs', source.cpus, target.cpus);
  compare('memory', source.memory, target.memory);
  const sizes = ({ backends }: VmShape) => backends.map(({ id, size }) => [id, size]);
  compare('memory backends', sizes(source), sizes(target));
  const places = ({ vfs }: VmShape) => vfs.map(({ address }) => address);
  compare('places of VFs', places(source), places(target));
  for (const { id, share } of [...source.backends, ...target.backends])
    if (!share) differs.push(`memory backend ${id} is not share=on: the VF cannot reach it`);
  if (differs.length > 0)
    throw new Fault('EREMCHG', `the VMs differ: ${differs.join('; ')}`, {
      hint: 'start the target with the same machine, memory and devices',
    });
}

/** True when both QEMUs have all of their memory in the same shared files. */
export function sharesMemory(source: VmFacts, target: VmFacts): boolean {
  const paths = ({ backends }: VmFacts) =>
    backends.map(({ path, share }) => (share ? path : undefined));
  const [from, to] = [paths(source), paths(target)];
  return from.length > 0 && from.every((path, n) => path !== undefined && path === to[n]);
}

/**
 * Judges whether a guest that is told nothing finds its GGTT where it was.
 *
 * @throws {Fault} EREMCHG when it does not, or nobody knows
 */
export function checkGgtt(from: number | undefined, to: number | undefined): void {
  if (from !== undefined && from === to) return;
  throw new Fault('EREMCHG', `the GGTT ranges of the VFs begin at ${hex(from)} and ${hex(to)}`, {
    hint: 'without --transparent the guest recovers by itself',
  });
}

function hex(value: number | undefined): string {
  return value === undefined ? 'an unknown place' : `0x${value.toString(16)}`;
}
