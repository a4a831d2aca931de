import { describe, expect, it } from 'vitest';
import { checkGgtt, checkVms, sharesMemory, type VmFacts } from '../../src/app/vm-facts.ts';

const SOURCE: VmFacts = {
  version: '11.1.3',
  machine: 'pc-q35-11.1-machine',
  cpus: 2,
  memory: 2 ** 30,
  backends: [{ id: 'memory', size: 2 ** 30, share: true, path: '/dev/shm/guest' }],
  vfs: [
    {
      id: 'vf0',
      address: '02.0',
      place: { bus: 0, slot: 2, function: 0 },
      bars: [],
      socket: '/run/a.sock',
    },
  ],
  status: 'running',
};
const TARGET: VmFacts = { ...SOURCE, status: 'inmigrate' };
const [VF] = SOURCE.vfs as [VmFacts['vfs'][0]];

describe('whether a VM can go to another QEMU', () => {
  it('it can when they are alike and the other waits', () => {
    expect(() => checkVms(SOURCE, TARGET)).not.toThrow();
    // What the device is called and where it is served need not be the same.
    const vfs = [{ ...VF, id: 'gpu', socket: '/run/b.sock' }];
    expect(() => checkVms(SOURCE, { ...TARGET, vfs })).not.toThrow();
  });

  it.each([
    ['EBUSY', 'the target QEMU is running', SOURCE, SOURCE],
    ['ENODEV', 'no vfio-user-pci', { ...SOURCE, vfs: [] }, TARGET],
    ['EOPNOTSUPP', 'the VM has 2 VFs', { ...SOURCE, vfs: [VF, VF] }, TARGET],
    ['EOPNOTSUPP', 'the VF has no id', SOURCE, { ...TARGET, vfs: [{ ...VF, id: 'device[0]' }] }],
    ['EREMCHG', 'machine type ("pc-q35-11.1-machine" here', SOURCE, { ...TARGET, machine: 'pc' }],
    ['EREMCHG', 'CPUs (2 here, 4 there)', SOURCE, { ...TARGET, cpus: 4 }],
    ['EREMCHG', 'memory (1073741824 here, 4096 there)', SOURCE, { ...TARGET, memory: 4096 }],
    ['EREMCHG', 'places of VFs', SOURCE, { ...TARGET, vfs: [{ ...VF, address: '03.0' }] }],
    [
      'EREMCHG',
      'backend memory is not share=on',
      SOURCE,
      { ...TARGET, backends: [{ id: 'memory', size: 2 ** 30, share: false, path: undefined }] },
    ],
  ] as const)('%s: %s', (code, words, source, target) => {
    expect(() => checkVms(source, target)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(words) }),
    );
  });

  it('names everything that differs at once', () => {
    expect(() => checkVms(SOURCE, { ...TARGET, cpus: 1, machine: 'pc' })).toThrow(
      /machine type .*; CPUs/,
    );
  });

  it('RAM stays where it is only in the same shared files', () => {
    expect(sharesMemory(SOURCE, TARGET)).toBe(true);
    const [backend] = SOURCE.backends as [VmFacts['backends'][0]];
    for (const other of [
      { ...backend, path: '/dev/shm/other' },
      { ...backend, path: undefined },
      { ...backend, share: false },
    ])
      expect(sharesMemory(SOURCE, { ...TARGET, backends: [other] })).toBe(false);
    expect(sharesMemory({ ...SOURCE, backends: [] }, { ...TARGET, backends: [] })).toBe(false);
  });

  it('a guest that is told nothing needs its GGTT where it was', () => {
    expect(() => checkGgtt(0x100_0000, 0x100_0000)).not.toThrow();
    expect(() => checkGgtt(0x100_0000, 0x200_0000)).toThrow(
      'the GGTT ranges of the VFs begin at 0x1000000 and 0x2000000',
    );
    expect(() => checkGgtt(undefined, undefined)).toThrow('an unknown place');
  });
});
