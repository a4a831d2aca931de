/**
 * The configuration space of a VF as its guest left it, and how another QEMU is brought to the same
 * view of its own device: by the writes that the guest's firmware and driver made, as port I/O.
 *
 * QEMU's `vfio-user-pci` neither sends its view with a migration nor takes one from its server: it
 * begins with no BARs, no COMMAND and no MSI.
 *
 * Source: docs/whole-vm.md; PCI Local Bus 3.0, 3.2.2.3.2 (configuration mechanism 1), 6.1, 6.8.1.
 */
import { Fault } from '../base/fault.ts';
import { dataView } from '../base/int.ts';
import { VFIO_PCI_IRQ, VFIO_PCI_REGION } from '../vfio/uapi.ts';
import type { VfioDevice } from '../vfio/vfio-device.ts';
import {
  PCI,
  PCI_CAP_ID,
  PCI_EXP,
  PCI_MSI,
  PCI_MSIX,
  PCI_PM,
  PCI_STD_NUM_BARS,
} from '../vfio-pci/pci-regs.ts';
import type { QmpClient } from './qmp.ts';

/** Bytes that mechanism 1 reaches; nothing behind them is a guest's to write. */
const CONFIG_BYTES = 256;
const FIRST_CAPABILITY = 0x40;
/** Ports of configuration mechanism 1. */
const CONFIG_ADDRESS = 0xcf8;
const CONFIG_DATA = 0xcfc;
/** Sizes of a port access in the words of QEMU's monitor. */
const SIZE_WORDS = { 1: 'b', 2: 'h', 4: 'w' } as const;

/** One write of configuration space. */
export interface ConfigWrite {
  readonly name: string;
  readonly offset: number;
  readonly size: 1 | 2 | 4;
  readonly value: number;
}

/** Where a device is on its QEMU's PCI buses. */
export interface PciPlace {
  readonly bus: number;
  readonly slot: number;
  readonly function: number;
}

/** The first 256 bytes of the configuration space of a served VF. @throws {Fault} EIO ... */
export function readConfig(device: VfioDevice): Uint8Array {
  const bytes = new Uint8Array(CONFIG_BYTES);
  device.regionRead(VFIO_PCI_REGION.CONFIG, 0, bytes, 0, bytes.length);
  return bytes;
}

/** Where each capability of a configuration space is, by its id. */
function capabilitiesOf(config: Uint8Array): ReadonlyMap<number, number> {
  const found = new Map<number, number>();
  let at = (config[PCI.CAPABILITY_LIST] ?? 0) & 0xfc;
  for (let left = CONFIG_BYTES / 4; at >= FIRST_CAPABILITY && left > 0; left--) {
    found.set(config[at] as number, at);
    at = (config[at + 1] ?? 0) & 0xfc;
  }
  return found;
}

/**
 * The writes that bring a device that was just reset to `config`, in their order: addresses before
 * what makes them count, the switch of MSI behind its address, COMMAND at the end.
 *
 * @param irq `VFIO_PCI_IRQ` index of the interrupts that were connected, undefined for none
 * @throws {Fault} EOPNOTSUPP for MSI-X, whose table is inside of QEMU, and for a sleeping device
 */
export function configWrites(config: Uint8Array, irq: number | undefined): ConfigWrite[] {
  const view = dataView(config);
  const capabilities = capabilitiesOf(config);
  const writes: ConfigWrite[] = [];
  const add = (name: string, offset: number, size: 1 | 2 | 4, value?: number) => {
    const read =
      size === 1
        ? view.getUint8(offset)
        : size === 2
          ? view.getUint16(offset, true)
          : view.getUint32(offset, true);
    writes.push({ name, offset, size, value: value ?? read });
  };
  checkMovable(view, capabilities, irq);
  for (let bar = 0; bar < PCI_STD_NUM_BARS; bar++) {
    const offset = PCI.BASE_ADDRESS_0 + 4 * bar;
    if (view.getUint32(offset, true) !== 0) add(`BAR ${bar}`, offset, 4);
  }
  add('INTERRUPT_LINE', PCI.INTERRUPT_LINE, 1);
  const exp = capabilities.get(PCI_CAP_ID.EXP);
  if (exp !== undefined) {
    const control = view.getUint16(exp + PCI_EXP.DEVCTL, true) & ~PCI_EXP.DEVCTL_BCR_FLR;
    add('DEVCTL', exp + PCI_EXP.DEVCTL, 2, control);
  }
  const msi = capabilities.get(PCI_CAP_ID.MSI);
  if (msi !== undefined) {
    const flags = view.getUint16(msi + PCI_MSI.FLAGS, true) & ~PCI_MSI.FLAGS_ENABLE;
    const is64 = (flags & PCI_MSI.FLAGS_64BIT) !== 0;
    const data = msi + (is64 ? 12 : 8);
    add('MSI address', msi + PCI_MSI.ADDRESS_LO, 4);
    if (is64) add('MSI upper address', msi + PCI_MSI.ADDRESS_LO + 4, 4);
    add('MSI data', data, 2);
    if ((flags & PCI_MSI.FLAGS_MASKBIT) !== 0) add('MSI mask', data + 4, 4);
    const enable = irq === VFIO_PCI_IRQ.MSI ? PCI_MSI.FLAGS_ENABLE : 0;
    add('MSI control', msi + PCI_MSI.FLAGS, 2, flags | enable);
  }
  add('COMMAND', PCI.COMMAND, 2);
  return writes;
}

/**
 * The writes that come before other ones when those of `made` were made already: nothing is decoded,
 * no BAR has an address, no interrupt is sent.
 */
export function configUndo(made: readonly ConfigWrite[]): ConfigWrite[] {
  const command = made.filter(({ name }) => name === 'COMMAND');
  const bars = made.filter(({ name }) => name.startsWith('BAR '));
  const msi = made.filter(({ name }) => name === 'MSI control');
  return [
    ...[...command, ...bars].map((write) => ({ ...write, value: 0 })),
    ...msi.map((write) => ({ ...write, value: write.value & ~PCI_MSI.FLAGS_ENABLE })),
  ];
}

function checkMovable(
  view: DataView,
  capabilities: ReadonlyMap<number, number>,
  irq: number | undefined,
): void {
  const msix = capabilities.get(PCI_CAP_ID.MSIX);
  const enabled =
    msix !== undefined &&
    (view.getUint16(msix + PCI_MSIX.FLAGS, true) & PCI_MSIX.FLAGS_ENABLE) !== 0;
  if (enabled || irq === VFIO_PCI_IRQ.MSIX)
    throw new Fault('EOPNOTSUPP', 'the guest uses MSI-X, whose table is inside of QEMU', {
      hint: 'boot the guest with a device that has MSI alone',
    });
  const pm = capabilities.get(PCI_CAP_ID.PM);
  const state =
    pm === undefined ? 0 : view.getUint16(pm + PCI_PM.CTRL, true) & PCI_PM.CTRL_STATE_MASK;
  if (state !== 0)
    throw new Fault('EOPNOTSUPP', `the guest has put the VF into D${state}`, {
      hint: 'let the guest use the VF, and try again',
    });
}

/**
 * Makes the writes at `place` of a QEMU whose guest does not run.
 *
 * @throws {Fault} EIO when QEMU refuses one, ENODEV when it is gone
 */
export async function replayConfig(
  qmp: QmpClient,
  place: PciPlace,
  writes: readonly ConfigWrite[],
): Promise<void> {
  const address = 0x8000_0000 + place.bus * 0x1_0000 + place.slot * 0x800 + place.function * 0x100;
  const said = await monitor(qmp, `i /w ${hex(CONFIG_ADDRESS)}`);
  const before = /= (0x[0-9a-f]+)/.exec(said)?.[1];
  if (before === undefined) throw new Fault('EIO', `QEMU's monitor said "${said.trim()}"`);
  // All at once: QEMU takes them in their order, and nobody waits for each answer.
  const lines = writes.flatMap(({ offset, size, value }) => [
    `o /w ${hex(CONFIG_ADDRESS)} ${hex(address + (offset & 0xfc))}`,
    `o /${SIZE_WORDS[size]} ${hex(CONFIG_DATA + (offset & 3))} ${hex(value)}`,
  ]);
  lines.push(`o /w ${hex(CONFIG_ADDRESS)} ${before}`);
  const answers = await Promise.all(lines.map((line) => monitor(qmp, line)));
  const refused = answers.findIndex((answer) => answer.trim() !== '');
  if (refused >= 0)
    throw new Fault(
      'EIO',
      `QEMU's monitor refuses "${lines[refused]}": ${answers[refused]?.trim()}`,
    );
}

/**
 * Names the registers of `writes` that do not hold what was written to them.
 *
 * @param config as {@link readConfig} gives it
 */
export function configDifferences(config: Uint8Array, writes: readonly ConfigWrite[]): string[] {
  const view = dataView(config);
  return writes
    .filter(({ name, offset, size, value }) => {
      const now =
        size === 1
          ? view.getUint8(offset)
          : size === 2
            ? view.getUint16(offset, true)
            : view.getUint32(offset, true);
      // Whether MSI is on the server knows by its interrupts.
      const ignored = name === 'MSI control' ? PCI_MSI.FLAGS_ENABLE : 0;
      return ((now ^ value) & ~ignored) !== 0;
    })
    .map(({ name }) => name);
}

async function monitor(qmp: QmpClient, line: string): Promise<string> {
  return String(await qmp.execute('human-monitor-command', { 'command-line': line }));
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
