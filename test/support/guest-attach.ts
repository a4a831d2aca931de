/** How a guest driver reaches a VF in the same process. */
import { GuestBars } from '../../src/app/guest-bars.ts';
import { GUEST_DRIVER_MEMORY, type GuestMemory } from '../../src/app/guest-load.ts';
import { Memfd } from '../../src/sys/memfd.ts';
import { VFIO_DMA_MAP_FLAG } from '../../src/vfio/uapi.ts';
import type { VfioDevice } from '../../src/vfio/vfio-device.ts';

const IOVA = 2 ** 32;

/** Has something closed when the test is over. */
type Closing = (close: () => void) => void;

/** Memory of a guest without VRAM; the same for every VF that it has in its life. */
export function guestRam(closing: Closing): Uint8Array {
  const memfd = Memfd.create('guest', GUEST_DRIVER_MEMORY);
  const mapping = memfd.map();
  closing(() => {
    mapping.close();
    memfd.close();
  });
  return mapping.view();
}

/** How a guest driver with memory `ram` reaches `device`. */
export function attachGuest(
  device: VfioDevice,
  ram: Uint8Array,
  closing: Closing,
): [GuestBars, GuestMemory] {
  const bars = new GuestBars(device);
  closing(() => bars.close());
  if (bars.vram !== undefined)
    return [bars, { bytes: bars.vram.view(0, GUEST_DRIVER_MEMORY), address: 0, inVram: true }];
  device.dmaMap({
    iova: IOVA,
    size: ram.length,
    flags: VFIO_DMA_MAP_FLAG.READ | VFIO_DMA_MAP_FLAG.WRITE,
    memory: {
      windows: [ram],
      read: (offset, target) => target.set(ram.subarray(offset, offset + target.length)),
      write: (offset, source) => ram.set(source, offset),
    },
  });
  return [bars, { bytes: ram, address: IOVA, inVram: false }];
}
