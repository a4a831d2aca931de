/**
 * DMA_MAP and DMA_UNMAP.
 *
 * Source: QEMU docs/interop/vfio-user.rst; flags of UNMAP: include/uapi/linux/vfio.h.
 */
import { closeFd } from '../sys/descriptor.ts';
import type { VfioDevice } from '../vfio/vfio-device.ts';
import { CODECS } from './codecs.ts';
import type { DmaTable } from './dma-table.ts';
import { DMA_UNMAP_FLAG } from './protocol.ts';
import { demand, type Request } from './request.ts';

/** DMA_MAP. @throws {Fault} EINVAL, EEXIST, ENOSPC, EACCES, and what the device says */
export function dmaMap(request: Request, device: VfioDevice, table: DmaTable): number {
  const { argsz, flags, offset, address, size } = request.decode('dmaMap');
  demand(request.length === CODECS.dmaMap.size, `a payload of ${request.length} bytes`);
  demand(argsz >= CODECS.dmaMap.size, `argsz ${argsz} is too small`);
  const fds = request.takeFds();
  try {
    table.map({ offset, address, size, flags }, fds[0] ?? -1, (mapping) => device.dmaMap(mapping));
  } finally {
    // A mapping needs no descriptor, and there is no use for a second one.
    for (const fd of fds) closeFd(fd);
  }
  return 0;
}

/** DMA_UNMAP. @throws {Fault} EINVAL, ENOENT */
export function dmaUnmap(request: Request, device: VfioDevice, table: DmaTable): number {
  const { argsz, flags, address, size } = request.decode('dmaUnmap');
  demand(request.length === CODECS.dmaUnmap.size, `a payload of ${request.length} bytes`);
  demand(argsz >= CODECS.dmaUnmap.size, `argsz ${argsz} is too small`);
  demand((flags & ~DMA_UNMAP_FLAG.ALL) === 0, `DMA unmap flags 0x${flags.toString(16)}`);
  if (flags === DMA_UNMAP_FLAG.ALL) {
    demand(address === 0 && size === 0, 'ALL together with a range');
    device.dmaUnmapAll();
    table.clear();
  } else table.unmap(address, size, () => device.dmaUnmap(address, size));
  return request.echo(CODECS.dmaUnmap.size);
}
