/**
 * What a QEMU shows of its PCI devices.
 *
 * Source: QEMU qapi/pci.json.
 */
import type { QmpClient } from './qmp.ts';
import type { ConfigWrite, PciPlace } from './vm-config.ts';

/** A BAR that its guest has given an address. */
export interface VmBar {
  readonly bar: number;
  readonly size: number;
  /** Guest physical address, undefined while the BAR is not decoded. */
  readonly address: number | undefined;
}

/** A bridge that has its bus numbers. */
export interface VmBridge {
  readonly place: PciPlace;
  /** Number of the bus that it is on. */
  readonly primary: number;
  /** Numbers of the bus behind it, and of the last one behind that. */
  readonly secondary: number;
  readonly subordinate: number;
}

/** Registers of a bridge. Source: PCI-to-PCI Bridge Architecture 1.2, 3.2. */
const PRIMARY_BUS = 0x18;

/** A device as `query-pci` tells it. */
export interface RawPciDevice {
  readonly bus: number;
  readonly slot: number;
  readonly function: number;
  readonly qdev_id: string;
  readonly regions: readonly {
    readonly bar: number;
    readonly size: number;
    readonly address: number;
  }[];
  readonly pci_bridge?: {
    readonly bus: {
      readonly number: number;
      readonly secondary: number;
      readonly subordinate: number;
    };
    readonly devices?: readonly RawPciDevice[];
  };
}

/**
 * The BARs of a device with an id.
 *
 * @param id as QEMU knows it
 * @returns none when there is no such device on a bus that has a number
 * @throws {Fault} EIO, ENODEV
 */
export async function barsOf(qmp: QmpClient, id: string): Promise<VmBar[]> {
  const found = (await pciDevices(qmp)).find(({ qdev_id }) => qdev_id === id);
  return found === undefined ? [] : mappedBars(found);
}

/** All devices, also those behind bridges. @throws {Fault} EIO, ENODEV */
export async function pciDevices(qmp: QmpClient): Promise<RawPciDevice[]> {
  const buses = (await qmp.execute('query-pci')) as readonly { devices: readonly RawPciDevice[] }[];
  return buses.flatMap((bus) => bus.devices.flatMap(withChildren));
}

/** The BARs of a device. */
export function mappedBars({ regions }: RawPciDevice): VmBar[] {
  return regions.map(({ bar, size, address }) => ({
    bar,
    size,
    // PCI_BAR_UNMAPPED is all ones.
    address: address < 0 || address >= 2 ** 63 ? undefined : address,
  }));
}

function withChildren(device: RawPciDevice): readonly RawPciDevice[] {
  return [device, ...(device.pci_bridge?.devices ?? []).flatMap(withChildren)];
}

/**
 * The bridge that a device is behind.
 *
 * @param id as QEMU knows it
 * @returns undefined when it is behind none, or that has no numbers yet
 * @throws {Fault} EIO, ENODEV
 */
export async function bridgeOf(qmp: QmpClient, id: string): Promise<VmBridge | undefined> {
  const found = (await pciDevices(qmp)).find(({ pci_bridge }) =>
    pci_bridge?.devices?.some(({ qdev_id }) => qdev_id === id),
  );
  if (found?.pci_bridge === undefined) return undefined;
  const { number, secondary, subordinate } = found.pci_bridge.bus;
  const place = { bus: found.bus, slot: found.slot, function: found.function };
  return { place, primary: number, secondary, subordinate };
}

/** True when there is a bridge at `place`. @throws {Fault} EIO, ENODEV */
export async function hasBridge(qmp: QmpClient, place: PciPlace): Promise<boolean> {
  return (await pciDevices(qmp)).some(
    (device) =>
      device.pci_bridge !== undefined &&
      device.bus === place.bus &&
      device.slot === place.slot &&
      device.function === place.function,
  );
}

/** The writes that give a bridge its numbers. */
export function bridgeWrites({ primary, secondary, subordinate }: VmBridge): ConfigWrite[] {
  return [
    { name: 'PRIMARY_BUS', offset: PRIMARY_BUS, size: 1, value: primary },
    { name: 'SECONDARY_BUS', offset: PRIMARY_BUS + 1, size: 1, value: secondary },
    { name: 'SUBORDINATE_BUS', offset: PRIMARY_BUS + 2, size: 1, value: subordinate },
  ];
}
