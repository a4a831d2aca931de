/**
 * Function-level reset that keeps the configuration the function had.
 *
 * Source: drivers/pci/pci.c:pci_dev_save_and_disable, pci_dev_restore, pci_save_state.
 */
import { dataView } from '../base/int.ts';
import type { PciFunction } from './pci-function.ts';
import {
  PCI,
  PCI_CAP_ID,
  PCI_CFG_SPACE_SIZE,
  PCI_COMMAND,
  PCI_EXP,
  PCI_MSI,
  PCI_MSIX,
  PCI_STATUS_CAP_LIST,
  PCI_STD_HEADER_SIZE,
} from './pci-regs.ts';

/** Control words of capabilities that outlive a reset, by capability and offset in it. */
const SAVED_WORDS: ReadonlyArray<readonly [capability: number, offset: number]> = [
  [PCI_CAP_ID.EXP, PCI_EXP.DEVCTL],
  [PCI_CAP_ID.MSI, PCI_MSI.FLAGS],
  [PCI_CAP_ID.MSIX, PCI_MSIX.FLAGS],
];

/** Offsets of 16-bit registers that are put back, COMMAND last so that it comes when all is set. */
function savedRegisters(config: DataView): number[] {
  const registers: number[] = [];
  for (let at: number = PCI.CACHE_LINE_SIZE; at < PCI_STD_HEADER_SIZE; at += 2) registers.push(at);
  let at =
    config.getUint16(PCI.STATUS, true) & PCI_STATUS_CAP_LIST
      ? config.getUint8(PCI.CAPABILITY_LIST)
      : 0;
  for (let left = PCI_CFG_SPACE_SIZE / 4; at >= PCI_STD_HEADER_SIZE && left > 0; left--) {
    const start = at & 0xfc;
    for (const [capability, offset] of SAVED_WORDS)
      if (config.getUint8(start) === capability) registers.push(start + offset);
    at = config.getUint8(start + 1);
  }
  registers.push(PCI.COMMAND);
  return registers;
}

/**
 * Resets the function and puts back its header and the control words of its capabilities.
 * @throws {Fault} EIO when the function does not come back; nothing is put back then
 */
export async function resetFunction(pciFunction: PciFunction): Promise<void> {
  const saved = new Uint8Array(PCI_CFG_SPACE_SIZE);
  pciFunction.configRead(0, saved, 0, saved.length);
  const registers = savedRegisters(dataView(saved));
  const word = new Uint8Array(2);
  dataView(word).setUint16(0, PCI_COMMAND.INTX_DISABLE, true);
  pciFunction.configWrite(PCI.COMMAND, word, 0, 2);
  await pciFunction.functionLevelReset();
  for (const at of registers) {
    pciFunction.configRead(at, word, 0, 2);
    if (word[0] !== saved[at] || word[1] !== saved[at + 1])
      pciFunction.configWrite(at, saved, at, 2);
  }
}

/** Forbids the function to reach memory by itself. Source: pci_clear_master */
export function clearBusMaster(pciFunction: PciFunction): void {
  const word = new Uint8Array(2);
  pciFunction.configRead(PCI.COMMAND, word, 0, 2);
  if ((word[0]! & PCI_COMMAND.MASTER) === 0) return;
  word[0]! &= ~PCI_COMMAND.MASTER;
  pciFunction.configWrite(PCI.COMMAND, word, 0, 2);
}
