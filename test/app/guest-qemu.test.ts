import { expect, test } from 'vitest';
import { endFault, qemuArguments } from '../../src/app/guest-qemu.ts';

const options = {
  rig: {
    directory: '/rig',
    root: '/rig/root',
    qemuVersion: '11',
    kernelRelease: '7',
    kernelVersion: '7',
    vmlinuz: '/rig/vmlinuz',
    guestModules: [],
    busybox: '/rig/busybox',
  },
  vfSockets: ['/a.sock', '/b.sock'],
  discrete: false,
  smp: 1,
  memory: 2 ** 30,
  initramfs: '/initramfs',
  kernelArgs: ['console=ttyS0', 'panic=-1'],
  controlSocket: '/control.sock',
  consoleSocket: '/console.sock',
  consoleLog: '/console.log',
};

/** The values of an option that may be given several times. */
const valuesOf = (args: readonly string[], name: string) =>
  args.flatMap((arg, at) => (args[at - 1] === name ? [arg] : []));

test('integrated VFs are on the root bus, each in a slot of its own', () => {
  const devices = valuesOf(qemuArguments(options), '-device').slice(2);
  expect(devices.map((each) => JSON.parse(each))).toEqual([
    { driver: 'vfio-user-pci', id: 'vf0', socket: { type: 'unix', path: '/a.sock' }, addr: '0x2' },
    { driver: 'vfio-user-pci', id: 'vf1', socket: { type: 'unix', path: '/b.sock' }, addr: '0x3' },
  ]);
});

test('discrete VFs are behind root ports', () => {
  const devices = valuesOf(qemuArguments({ ...options, discrete: true }), '-device').slice(2);
  expect(devices.filter((each) => each.startsWith('pcie-root-port'))).toEqual([
    'pcie-root-port,id=port0,chassis=1,slot=1,addr=0x2',
    'pcie-root-port,id=port1,chassis=2,slot=2,addr=0x3',
  ]);
  expect(
    devices.filter((each) => each.startsWith('{')).map((each) => JSON.parse(each).bus),
  ).toEqual(['port0', 'port1']);
});

test("the guest's memory is a shared memfd, or what its starter has", () => {
  expect(valuesOf(qemuArguments(options), '-object')).toEqual([
    `memory-backend-memfd,id=memory,size=${2 ** 30},share=on`,
  ]);
  const memoryObject = 'memory-backend-file,id=memory,size=1G,mem-path=/shm,share=on';
  const args = qemuArguments({ ...options, memoryObject, extraArgs: ['-incoming', 'defer'] });
  expect(valuesOf(args, '-object')).toEqual([memoryObject]);
  expect(valuesOf(args, '-incoming')).toEqual(['defer']);
});

test('an end says how it came about', () => {
  expect(endFault({ code: 1, signal: null, text: 'no such device' })).toMatchObject({
    code: 'ENODEV',
    message: 'QEMU ended (exit code 1): no such device',
  });
  expect(endFault({ code: null, signal: 'SIGKILL', text: '' }).message).toBe(
    'QEMU ended (SIGKILL)',
  );
});
