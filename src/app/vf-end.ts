/** The ends of sessions, whichever way they are reached. */
import { KernelVfioDevice } from '../linux/vfio-kernel-device.ts';
import type { MigrationEnd } from '../migration/session-end.ts';
import type { VfProfile } from '../migration/vf-profile.ts';
import { VFIO_PCI_REGION } from '../vfio/uapi.ts';
import type { VfioDevice } from '../vfio/vfio-device.ts';
import { xePlatformOf } from '../xe-vfio-pci/ids.ts';
import type { DeviceEndpoint } from './endpoint.ts';
import { connectVf } from './vf-connection.ts';

/** Where the header of configuration space says what the device is. */
const PCI_ID_BYTES = 9;

/** A device that state is taken from or brought to. */
export interface VfEnd extends MigrationEnd {
  readonly endpoint: DeviceEndpoint;
  /** False for a device of the kernel that is none of xe's: its stream has a form of its own. */
  readonly isXe: boolean;
  /** Ends the use of the device. Idempotent. */
  close(): Promise<void>;
}

/**
 * Connects to a served VF beside its VMM, or opens a device of the kernel, which nobody else may have
 * open and which the kernel resets when it can.
 *
 * @throws {Fault} ENOENT, ECONNREFUSED when nobody serves it; see {@link KernelVfioDevice.open}
 */
export async function openVfEnd(endpoint: DeviceEndpoint): Promise<VfEnd> {
  if (endpoint.kind === 'vfio') return openKernelEnd(endpoint);
  const vf = await connectVf(endpoint.path);
  const { device, profile, probe } = vf;
  return { endpoint, device, profile, probe, isXe: true, close: () => vf.close() };
}

function openKernelEnd(endpoint: DeviceEndpoint): VfEnd {
  const device = KernelVfioDevice.open(endpoint.path);
  const { isXe, profile } = describe(device);
  return { endpoint, device, profile, isXe, close: () => device.close() };
}

/** What the device's own registers tell; its quotas only its PF knows. */
function describe(device: VfioDevice): { readonly isXe: boolean; readonly profile: VfProfile } {
  const header = new Uint8Array(PCI_ID_BYTES);
  device.regionRead(VFIO_PCI_REGION.CONFIG, 0, header, 0, header.length);
  const view = new DataView(header.buffer);
  const deviceId = view.getUint16(2, true);
  const platform = xePlatformOf(view.getUint16(0, true), deviceId);
  const { migrationFlags: capabilities } = device;
  return {
    isXe: platform !== undefined,
    profile: {
      platform: platform?.toLowerCase(),
      deviceId,
      revisionId: view.getUint8(8),
      capabilities,
    },
  };
}
