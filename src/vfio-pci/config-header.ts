/**
 * The standard header as a user sees it: ids, COMMAND, BARs that can be sized.
 *
 * Source: drivers/vfio/pci/vfio_pci_config.c:vfio_config_init, vfio_bar_fixup.
 */
import { dataView, TWO_32 } from '../base/int.ts';
import { type ConfigImage, permit } from './config-image.ts';
import {
  barFlags,
  type ConfigReader,
  HEADER_PERMISSIONS,
  VF_COMMAND_PERMISSION,
} from './config-permissions.ts';
import type { Bar, PciFunction } from './pci-function.ts';
import { PCI, PCI_COMMAND, PCI_STD_HEADER_SIZE, PCI_STD_NUM_BARS } from './pci-regs.ts';

/** Lays the header over the image. */
export function showHeader(
  image: ConfigImage,
  pciFunction: PciFunction,
  config: ConfigReader,
): void {
  const { values } = image;
  const view = dataView(values);
  for (let at = 0; at < PCI_STD_HEADER_SIZE; at++) values[at] = config.u8(at);
  for (const field of HEADER_PERMISSIONS) permit(image, 0, field);
  if (pciFunction.isVirtfn) {
    permit(image, 0, VF_COMMAND_PERMISSION);
    view.setUint16(PCI.VENDOR_ID, pciFunction.vendorId, true);
    view.setUint16(PCI.DEVICE_ID, pciFunction.deviceId, true);
    values[PCI.COMMAND]! |= PCI_COMMAND.MEMORY;
  }
  values[PCI.COMMAND + 1]! &= ~(PCI_COMMAND.INTX_DISABLE >> 8);
  // A VF has no INTx, whatever its pin register says.
  if (pciFunction.isVirtfn || pciFunction.vectors.intx === 0) values[PCI.INTERRUPT_PIN] = 0;
  fixBars(view, pciFunction.bars);
}

/**
 * Makes the virtual BARs show only what a BAR of its size can hold: writing ones and reading back
 * the size mask is how a BAR is sized.
 */
export function fixBars(values: DataView, bars: readonly Bar[]): void {
  for (let index = 0; index < PCI_STD_NUM_BARS; index++) {
    const at = PCI.BASE_ADDRESS_0 + 4 * index;
    const bar = bars[index];
    if (bar === undefined || bar.size === 0) {
      values.setUint32(at, 0, true);
      continue;
    }
    const low = bar.size >= TWO_32 ? 0 : (TWO_32 - bar.size) >>> 0;
    const value = (values.getUint32(at, true) & low) >>> 0;
    values.setUint32(at, (value | barFlags(bar.is64Bit, bar.prefetchable)) >>> 0, true);
    if (!bar.is64Bit) continue;
    const high = bar.size <= TWO_32 ? TWO_32 - 1 : TWO_32 - bar.size / TWO_32;
    values.setUint32(at + 4, (values.getUint32(at + 4, true) & high) >>> 0, true);
    index++;
  }
  // No function of ours has an expansion ROM.
  values.setUint32(PCI.ROM_ADDRESS, 0, true);
}
