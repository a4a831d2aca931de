import { dataView } from '../base/int.ts';
import { VFIO_PCI_REGION } from '../vfio/uapi.ts';
import type { VfioDevice } from '../vfio/vfio-device.ts';
import { PCI } from './pci-regs.ts';

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');

/**
 * The configuration space of a device as `lspci -xxxx` prints it, for `lspci -F`.
 *
 * @param device an open device; its configuration region is read, nothing is changed
 * @param slot where the device pretends to be
 * @example writeFileSync('vf.txt', lspciDump(device)); // then: lspci -F vf.txt -vvv
 * Source: lspci(8), option -x
 */
export function lspciDump(device: VfioDevice, slot = '00:02.0'): string {
  const { size } = device.regionInfo(VFIO_PCI_REGION.CONFIG);
  const bytes = new Uint8Array(size);
  device.regionRead(VFIO_PCI_REGION.CONFIG, 0, bytes, 0, size);
  const view = dataView(bytes);
  const classRevision = view.getUint32(PCI.CLASS_REVISION, true);
  const ids = `${hex(view.getUint16(PCI.VENDOR_ID, true), 4)}:${hex(view.getUint16(PCI.DEVICE_ID, true), 4)}`;
  const lines = [
    `${slot} Class ${hex(classRevision >>> 16, 4)}: Device ${ids} (rev ${hex(classRevision & 0xff, 2)})`,
  ];
  for (let at = 0; at < size; at += 16) {
    const row = Array.from(bytes.subarray(at, at + 16), (byte) => hex(byte, 2));
    lines.push(`${hex(at, 2)}: ${row.join(' ')}`);
  }
  return `${lines.join('\n')}\n\n`;
}
