/** The words by which a person names one end of a migration. */
import { stat } from 'node:fs/promises';
import { Fault } from '../base/fault.ts';
import { parseVfioAddress } from '../linux/vfio-sysfs.ts';

/** A served VF, a VFIO device of the kernel, or a file with the state of one. */
export interface Endpoint {
  readonly kind: 'vfio-user' | 'vfio' | 'file';
  /** Of the socket, or of the file; of a device the PCI address or the UUID. */
  readonly path: string;
}

/** An endpoint that is a device and no file. */
export interface DeviceEndpoint extends Endpoint {
  readonly kind: 'vfio-user' | 'vfio';
}

/**
 * Understands `vfio-user:PATH`, `vfio:BDF`, `vfio:UUID`, `file:PATH` and a bare path, which is what is
 * there under it.
 *
 * @param absent what a bare path is under which there is nothing; undefined when that is an error
 * @throws {Fault} ENOENT when nothing is there, EINVAL when it is neither socket nor file, or no
 * address of a device
 * @example await parseEndpoint('/run/vf1.sock') // { kind: 'vfio-user', path: '/run/vf1.sock' }
 */
export async function parseEndpoint(text: string, absent?: Endpoint['kind']): Promise<Endpoint> {
  const [, scheme, rest] = /^(vfio-user|vfio|file):(.*)$/s.exec(text) ?? [];
  if (scheme === 'vfio') return { kind: 'vfio', path: parseVfioAddress(rest ?? '').name };
  const path = rest ?? text;
  if (path === '') throw new Fault('EINVAL', `"${text}" names no path`);
  if (scheme !== undefined) return { kind: scheme as Endpoint['kind'], path };
  const stats = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' && absent !== undefined) return undefined;
    if (error.code === 'EACCES') throw new Fault('EACCES', `${path} may not be looked at`);
    throw new Fault('ENOENT', `${path} is not there`);
  });
  if (stats === undefined) return { kind: absent ?? 'file', path };
  if (stats.isSocket()) return { kind: 'vfio-user', path };
  if (stats.isFile()) return { kind: 'file', path };
  throw new Fault('EINVAL', `${path} is neither a socket nor a file`);
}

/**
 * An endpoint that must be a device.
 * @throws {Fault} EINVAL when it is a file
 */
export function deviceEndpoint({ kind, path }: Endpoint): DeviceEndpoint {
  if (kind !== 'file') return { kind, path };
  throw new Fault('EINVAL', `${path} is a file, not a served VF`, {
    hint: 'xe-vfio restore FILE TO brings a file into a VF, xe-vfio save FROM FILE makes one',
  });
}

/**
 * The path of an endpoint that must be a file.
 * @throws {Fault} EINVAL when it is a socket or a device
 */
export function filePath({ kind, path }: Endpoint): string {
  if (kind === 'file') return path;
  const is = kind === 'vfio' ? 'device' : 'socket';
  throw new Fault('EINVAL', `${path} is a ${is}, not a file`, {
    hint: 'xe-vfio migrate FROM TO moves the state from one served VF to another',
  });
}
