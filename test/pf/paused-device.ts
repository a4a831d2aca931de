import { GoldenDevice } from './golden-device.ts';

/** A device with a paused and filled VF1, and its exports. */
export async function paused(...args: ConstructorParameters<typeof GoldenDevice>) {
  const device = new GoldenDevice(...args);
  const vfio = device.pf.sriovVfio;
  device.fill(1);
  await device.must(() => vfio.suspendDevice(1));
  return { device, vfio };
}

/** The states of VF1 on each GT. */
export function states(device: GoldenDevice): string {
  return device.pf.control
    .states(1)
    .map((bits) => bits.join('+'))
    .join(' | ');
}
