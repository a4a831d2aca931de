/**
 * The devices that xe-vfio-pci takes over, always by name (driver override), never by itself.
 *
 * Source: include/drm/intel/pciids.h (INTEL_PTL_IDS, INTEL_WCL_IDS, INTEL_BMG_IDS),
 * drivers/vfio/pci/xe/main.c:xe_vfio_pci_table.
 */

/** PCI vendor id of Intel. */
const PCI_VENDOR_ID_INTEL = 0x8086;

/** A platform's name as the kernel spells it. */
export type XePlatformName = 'PTL' | 'WCL' | 'BMG';

/** Device ids of PFs and their VFs, by platform: Panther Lake, Wildcat Lake, Battlemage. */
export const XE_VFIO_PCI_IDS: Readonly<Record<XePlatformName, readonly number[]>> = {
  PTL: [
    0xb080, 0xb081, 0xb082, 0xb083, 0xb084, 0xb085, 0xb086, 0xb087, 0xb08f, 0xb090, 0xb0a0, 0xb0b0,
  ],
  WCL: [0xfd80, 0xfd81],
  BMG: [
    0xe202, 0xe209, 0xe20b, 0xe20c, 0xe20d, 0xe210, 0xe211, 0xe212, 0xe216, 0xe220, 0xe221, 0xe222,
    0xe223,
  ],
};

/** The platform of a device, undefined when xe-vfio-pci does not know it. */
export function xePlatformOf(vendorId: number, deviceId: number): XePlatformName | undefined {
  if (vendorId !== PCI_VENDOR_ID_INTEL) return undefined;
  for (const name of ['PTL', 'WCL', 'BMG'] as const)
    if (XE_VFIO_PCI_IDS[name].includes(deviceId)) return name;
  return undefined;
}
