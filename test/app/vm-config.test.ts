import { describe, expect, it } from 'vitest';
import { configDifferences, configUndo, configWrites } from '../../src/app/vm-config.ts';
import { VFIO_PCI_IRQ } from '../../src/vfio/uapi.ts';

/** A device with MSI at 0x50 and MSI-X at 0x70, as its guest left it. */
function config(): { bytes: Uint8Array; view: DataView } {
  const bytes = new Uint8Array(256);
  const view = new DataView(bytes.buffer);
  view.setUint16(0x04, 0x0406, true);
  view.setUint32(0x10, 0xfe00_0004, true);
  view.setUint32(0x14, 0x0000_0001, true);
  bytes[0x34] = 0x50;
  bytes[0x3c] = 11;
  bytes.set([0x05, 0x70, 0x80, 0x00], 0x50);
  view.setUint32(0x54, 0xfee0_1000, true);
  view.setUint16(0x5c, 0x4021, true);
  bytes.set([0x11, 0x00], 0x70);
  return { bytes, view };
}

describe('the writes that a guest made to configuration space', () => {
  it('come addresses first, COMMAND last, MSI switched on by what is connected', () => {
    const writes = configWrites(config().bytes, VFIO_PCI_IRQ.MSI);
    expect(writes.map(({ name, offset, value }) => [name, offset, value])).toEqual([
      ['BAR 0', 0x10, 0xfe00_0004],
      ['BAR 1', 0x14, 1],
      ['INTERRUPT_LINE', 0x3c, 11],
      ['MSI address', 0x54, 0xfee0_1000],
      ['MSI upper address', 0x58, 0],
      ['MSI data', 0x5c, 0x4021],
      ['MSI control', 0x52, 0x81],
      ['COMMAND', 0x04, 0x0406],
    ]);
    const off = configWrites(config().bytes, undefined);
    expect(off.find(({ name }) => name === 'MSI control')?.value).toBe(0x80);
  });

  it('are compared with what a device holds', () => {
    const { bytes, view } = config();
    const writes = configWrites(bytes, VFIO_PCI_IRQ.MSI);
    expect(configDifferences(bytes, writes)).toEqual([]);
    view.setUint32(0x10, 4, true);
    view.setUint16(0x5c, 0, true);
    expect(configDifferences(bytes, writes)).toEqual(['BAR 0', 'MSI data']);
  });

  it('are undone before others are made: nothing decoded, no address, no interrupt', () => {
    const undo = configUndo(configWrites(config().bytes, VFIO_PCI_IRQ.MSI));
    expect(undo.map(({ name, value }) => [name, value])).toEqual([
      ['COMMAND', 0],
      ['BAR 0', 0],
      ['BAR 1', 0],
      ['MSI control', 0x80],
    ]);
  });

  it('refuse MSI-X', () => {
    const { bytes, view } = config();
    view.setUint16(0x72, 0x8000, true);
    expect(() => configWrites(bytes, VFIO_PCI_IRQ.MSI)).toThrowError(/MSI-X/);
    expect(() => configWrites(config().bytes, VFIO_PCI_IRQ.MSIX)).toThrowError(/MSI-X/);
  });
});
