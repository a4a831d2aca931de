import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openVfio } from '../../src/linux/vfio-open.ts';
import { groupHolders, lookUpVfio, parseVfioAddress } from '../../src/linux/vfio-sysfs.ts';

const BDF = '0000:03:00.1';
const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'xe-vfio-vfio-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** A device in a tree that looks like sysfs. */
function device(name: string, bus: 'pci' | 'mdev', links: Record<string, string> = {}): string {
  const path = join(root, 'sys/bus', bus, 'devices', name);
  mkdirSync(path, { recursive: true });
  for (const [link, target] of Object.entries(links)) symlinkSync(target, join(path, link));
  return path;
}

const roots = () => ({ sysfs: join(root, 'sys'), dev: join(root, 'dev') });

describe('parseVfioAddress', () => {
  it.each([
    [BDF, { bus: 'pci', name: BDF }],
    ['03:00.1', { bus: 'pci', name: BDF }],
    ['10000:E1:00.0', { bus: 'pci', name: '10000:e1:00.0' }],
    [UUID.toUpperCase(), { bus: 'mdev', name: UUID }],
  ])('understands %s', (text, address) => {
    expect(parseVfioAddress(text)).toEqual(address);
  });

  it.each(['', '3:0.1', '0000:03:20.0', '0000:03:00.8', `${UUID}0`, '../../etc'])(
    'refuses "%s"',
    (text) => {
      expect(() => parseVfioAddress(text)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    },
  );
});

describe('lookUpVfio', () => {
  it('tells driver, group, device file and what is a VF', () => {
    device('0000:03:00.0', 'pci');
    const path = device(BDF, 'pci', {
      driver: '../../drivers/vfio-pci',
      iommu_group: '../../../kernel/iommu_groups/7',
      physfn: '../0000:03:00.0',
    });
    mkdirSync(join(path, 'vfio-dev/vfio3'), { recursive: true });
    expect(lookUpVfio(parseVfioAddress(BDF), roots().sysfs)).toMatchObject({
      driver: 'vfio-pci',
      group: 7,
      deviceFile: 'vfio3',
      isVirtfn: true,
    });
  });

  it('tells what is not there', () => {
    device(UUID, 'mdev');
    expect(lookUpVfio(parseVfioAddress(UUID), roots().sysfs)).toMatchObject({
      driver: undefined,
      group: undefined,
      deviceFile: undefined,
      isVirtfn: false,
    });
    expect(() => lookUpVfio(parseVfioAddress(BDF), roots().sysfs)).toThrow(
      expect.objectContaining({ code: 'ENODEV' }),
    );
  });

  it('names the drivers that hold the rest of a group', () => {
    const path = device(BDF, 'pci', { iommu_group: '../../../kernel/iommu_groups/7' });
    device('0000:03:00.0', 'pci', { driver: '../../drivers/xe' });
    device('0000:00:01.0', 'pci', { driver: '../../drivers/pcieport' });
    const group = join(root, 'sys/kernel/iommu_groups/7/devices');
    mkdirSync(group, { recursive: true });
    for (const name of [BDF, '0000:03:00.0', '0000:00:01.0'])
      symlinkSync(join(path, '..', name), join(group, name));
    const found = lookUpVfio(parseVfioAddress(BDF), roots().sysfs);
    expect(groupHolders(found, roots().sysfs)).toEqual(['0000:03:00.0 (xe)']);
  });
});

describe('openVfio', () => {
  it('says that there is no IOMMU', () => {
    device(BDF, 'pci');
    expect(() => openVfio(BDF, roots())).toThrow(
      expect.objectContaining({ code: 'ENODEV', hint: expect.stringContaining('iommu=on') }),
    );
  });

  it('says which driver has the device instead of VFIO', () => {
    device(BDF, 'pci', {
      iommu_group: '../../../kernel/iommu_groups/7',
      driver: '../../drivers/xe',
    });
    expect(() => openVfio(BDF, roots())).toThrow(
      expect.objectContaining({
        code: 'ENODEV',
        message: `${BDF} is bound to xe, not to VFIO`,
        hint: `xe-vfio bind ${BDF}`,
      }),
    );
  });

  it('says that a kernel has no device files', () => {
    device(BDF, 'pci', { iommu_group: '../../../kernel/iommu_groups/7' });
    mkdirSync(join(root, 'dev/vfio'), { recursive: true });
    writeFileSync(join(root, 'dev/vfio/7'), '');
    expect(() => openVfio(BDF, { ...roots(), via: 'iommufd' })).toThrow(
      expect.objectContaining({ code: 'EOPNOTSUPP' }),
    );
  });

  it('says that the modules are missing', () => {
    device(BDF, 'pci', { iommu_group: '../../../kernel/iommu_groups/7' });
    mkdirSync(join(root, 'dev/vfio'), { recursive: true });
    writeFileSync(join(root, 'dev/vfio/7'), '');
    expect(() => openVfio(BDF, roots())).toThrow(
      expect.objectContaining({ code: 'ENOENT', hint: expect.stringContaining('modprobe') }),
    );
  });

  it('passes on what the container says', () => {
    device(BDF, 'pci', { iommu_group: '../../../kernel/iommu_groups/7' });
    mkdirSync(join(root, 'dev/vfio'), { recursive: true });
    for (const name of ['7', 'vfio']) writeFileSync(join(root, 'dev/vfio', name), '');
    expect(() => openVfio(BDF, roots())).toThrow(expect.objectContaining({ code: 'ENOTTY' }));
  });
});
