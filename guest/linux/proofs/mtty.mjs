// In the guest: a VFIO device of the kernel that can be migrated, the kernel's own sample mtty.

import * as fs from 'node:fs';
import { KernelVfioDevice } from '../../../dist/linux/vfio-kernel-device.js';
import { migrate } from '../../../dist/migration/session.js';
import { EventFd } from '../../../dist/sys/eventfd.js';
import { MIG_STATE, migStateName } from '../../../dist/vfio/migration-state.js';
import { assert, faultOf, proof, runProgram } from './proof.mjs';

const TYPES = '/sys/devices/virtual/mtty/mtty/mdev_supported_types';
const A = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
const B = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1002';
const ONE_PORT = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1003';
const CLI = '/app/bin/xe-vfio';
/** Registers of a 16550. */
const UART = { DATA: 0, SCRATCH: 7 };
/** struct mtty_data up to its ports, and one port. */
const HEADER_BYTES = 24;
const STREAM_BYTES = HEADER_BYTES + 2 * 36;
const { STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P } = MIG_STATE;

fs.writeFileSync(`${TYPES}/mtty-2/create`, A);
fs.writeFileSync(`${TYPES}/mtty-2/create`, B);
fs.writeFileSync(`${TYPES}/mtty-1/create`, ONE_PORT);

function put(device, port, register, value) {
  device.regionWrite(port, register, new Uint8Array([value]), 0, 1);
}

function get(device, port, register) {
  const byte = new Uint8Array(1);
  device.regionRead(port, register, byte, 0, 1);
  return byte[0];
}

/** Puts something into the device that only its own state can carry. */
function fill(device, scratch, text) {
  put(device, 0, UART.SCRATCH, scratch);
  for (const byte of new TextEncoder().encode(text)) put(device, 1, UART.DATA, byte);
}

/** Takes out what {@link fill} put in; the text is then gone. */
function drain(device, length) {
  const bytes = Array.from({ length }, () => get(device, 1, UART.DATA));
  return { scratch: get(device, 0, UART.SCRATCH), text: String.fromCharCode(...bytes) };
}

async function walk(device, states) {
  const seen = [];
  for (const state of states) {
    const data = await device.setMigrationState(state);
    assert.equal(await device.migrationState(), state);
    seen.push(`${migStateName(state)}${data === undefined ? '' : ` (${data.direction})`}`);
  }
  return seen;
}

/** All of a stream, in pieces of `max` bytes. */
async function readAll(data, max = 7) {
  const pieces = [];
  for (;;) {
    const views = await data.read(max);
    if (views.length === 0) return Buffer.concat(pieces);
    for (const view of views) pieces.push(Buffer.from(view));
  }
}

await proof('mtty: the device describes itself', async () => {
  const device = KernelVfioDevice.open(A);
  try {
    assert.equal(device.migrationFlags, 7);
    assert.equal(device.dmaLogging, true);
    assert.equal(await device.migrationState(), RUNNING);
    assert.deepEqual(device.info, { flags: 2, numRegions: 9, numIrqs: 5 });
    assert.equal(device.regionInfo(0).size, 8);
    assert.equal(device.irqInfo(1).count, 1);
    assert.equal((await faultOf(() => device.irqInfo(2))).code, 'EINVAL');
    assert.equal((await faultOf(() => device.regionInfo(20))).code, 'EINVAL');
    const outside = () => device.regionRead(0, 8, new Uint8Array(1), 0, 1);
    assert.equal((await faultOf(outside)).code, 'EINVAL');
    fill(device, 0x11, 'x');
    assert.deepEqual(drain(device, 1), { scratch: 0x11, text: 'x' });
  } finally {
    await device.close();
    await device.close();
  }
  assert.equal((await faultOf(() => device.reset())).code, 'ENODEV');
});

await proof('mtty: a device that is open is refused', async () => {
  const device = KernelVfioDevice.open(A);
  try {
    return await faultOf(() => KernelVfioDevice.open(A)).then((fault) => {
      assert.equal(fault.code, 'EBUSY');
      return fault;
    });
  } finally {
    await device.close();
  }
});

await proof('mtty: every state and every arc', async () => {
  const device = KernelVfioDevice.open(A);
  try {
    return await walk(device, [
      ...[RUNNING_P2P, STOP, STOP_COPY, STOP, RUNNING, PRE_COPY, RUNNING, PRE_COPY_P2P],
      ...[PRE_COPY, STOP_COPY, RUNNING, RUNNING_P2P, PRE_COPY_P2P, RUNNING_P2P, STOP_COPY, STOP],
      ...[RUNNING],
    ]);
  } finally {
    await device.close();
  }
});

await proof('mtty: illegal states change nothing', async () => {
  const device = KernelVfioDevice.open(A);
  try {
    await device.setMigrationState(STOP_COPY);
    for (const state of [0, PRE_COPY, 8, 1000]) {
      const { code } = await faultOf(() => device.setMigrationState(state));
      assert.equal(code, 'EINVAL');
      assert.equal(await device.migrationState(), STOP_COPY);
    }
    await device.setMigrationState(RUNNING);
  } finally {
    await device.close();
  }
});

await proof('mtty: pre-copy, its info and its end', async () => {
  const device = KernelVfioDevice.open(A);
  try {
    assert.equal((await faultOf(() => device.precopyInfo())).code, 'EINVAL');
    const data = await device.setMigrationState(PRE_COPY);
    device.enablePrecopyInfoV2();
    const before = await device.precopyInfo();
    assert.deepEqual(before, { initialBytes: HEADER_BYTES, dirtyBytes: 0, reinit: false });
    const initial = await readAll(data);
    assert.equal(initial.length, HEADER_BYTES);
    const after = await device.precopyInfo();
    assert.equal(after.initialBytes, 0);
    assert.equal(await device.setMigrationState(STOP_COPY), undefined);
    assert.equal((await faultOf(() => device.precopyInfo())).code, 'EINVAL');
    const rest = await readAll(data);
    assert.equal(initial.length + rest.length, STREAM_BYTES);
    await device.setMigrationState(RUNNING);
    assert.equal((await faultOf(() => data.read(1))).code, 'ENODEV');
    data.close();
    return { before, after, rest: rest.length };
  } finally {
    await device.close();
  }
});

await proof('mtty: the state goes from one device to the other by hand', async () => {
  const source = KernelVfioDevice.open(A);
  const target = KernelVfioDevice.open(B);
  try {
    fill(source, 0x5a, 'saved');
    const from = await source.setMigrationState(STOP_COPY);
    assert.equal(await source.migrationDataSize(), STREAM_BYTES);
    const stream = await readAll(from);
    assert.equal(stream.length, STREAM_BYTES);
    const into = await target.setMigrationState(RESUMING);
    assert.equal((await faultOf(() => into.read(1))).code, 'EINVAL');
    for (let at = 0; at < stream.length; at += 30) await into.write(stream.subarray(at, at + 30));
    await target.setMigrationState(RUNNING);
    assert.deepEqual(drain(target, 5), { scratch: 0x5a, text: 'saved' });
    await source.setMigrationState(RUNNING);
    drain(source, 5);
  } finally {
    await source.close();
    await target.close();
  }
});

await proof('mtty: what the driver refuses keeps its errno', async () => {
  const device = KernelVfioDevice.open(B);
  const refused = {};
  try {
    let into = await device.setMigrationState(RESUMING);
    refused.short = await faultOf(() => device.setMigrationState(STOP));
    assert.equal(refused.short.code, 'EINVAL');
    assert.equal(await device.migrationState(), RESUMING);
    await device.reset();
    assert.equal(await device.migrationState(), RUNNING);
    refused.disabled = await faultOf(() => into.write(new Uint8Array(1)));
    assert.equal(refused.disabled.code, 'ENODEV');
    into = await device.setMigrationState(RESUMING);
    refused.magic = await faultOf(() => into.write(new Uint8Array(HEADER_BYTES)));
    assert.equal(refused.magic.code, 'EFAULT');
    refused.long = await faultOf(() => into.write(new Uint8Array(4096)));
    assert.equal(refused.long.code, 'ENOMEM');
    await device.reset();
    into.close();
    return refused;
  } finally {
    await device.close();
  }
});

await proof('mtty: DMA logging', async () => {
  const device = KernelVfioDevice.open(A);
  try {
    const ranges = [{ iova: 0, length: 2 ** 20 }];
    assert.equal((await faultOf(() => device.dmaLoggingStart(4096, []))).code, 'EINVAL');
    device.dmaLoggingStart(4096, ranges);
    // mtty takes the request and has no answer to it: the errno is the driver's own.
    const report = () => device.dmaLoggingReport(0, 2 ** 20, 4096, new Uint8Array(32));
    assert.equal((await faultOf(report)).code, 'EOPNOTSUPP');
    device.dmaLoggingStop();
  } finally {
    await device.close();
  }
});

await proof('mtty: MSI to an eventfd', async () => {
  const device = KernelVfioDevice.open(A);
  const eventfd = new EventFd();
  try {
    const fd = new EventFd().fd;
    fs.fstatSync(fd);
    // Bits: eventfd data, trigger action; the device takes the descriptor over.
    device.setIrqs({ flags: 0x24, index: 1, start: 0, count: 1, fds: [fd] });
    assert.throws(() => fs.fstatSync(fd), /EBADF/);
  } finally {
    eventfd.close();
    await device.close();
  }
});

await proof('mtty: a session migrates one device into the other, and rolls back', async () => {
  const source = KernelVfioDevice.open(A);
  const target = KernelVfioDevice.open(B);
  const small = KernelVfioDevice.open(ONE_PORT);
  try {
    fill(source, 0x77, 'again');
    const refused = await faultOf(() => migrate({ device: source }, { device: small }));
    assert.equal(await source.migrationState(), RUNNING);
    assert.equal(await small.migrationState(), RUNNING);
    const { streamBytes } = await migrate({ device: source }, { device: target });
    assert.equal(streamBytes, STREAM_BYTES);
    assert.equal(await source.migrationState(), STOP);
    assert.equal(await target.migrationState(), RUNNING);
    assert.deepEqual(drain(target, 5), { scratch: 0x77, text: 'again' });
    await source.setMigrationState(RUNNING);
    drain(source, 5);
    return { refused };
  } finally {
    for (const device of [source, target, small]) await device.close();
  }
});

// The command line does not care which interface of the kernel is there: once is enough.
if (!fs.existsSync('/dev/iommu'))
  await proof('mtty: the command line migrates, saves, restores and checks', async () => {
    const use = async (uuid, run) => {
      const device = KernelVfioDevice.open(uuid);
      try {
        return await run(device);
      } finally {
        await device.close();
      }
    };
    const cli = async (...args) => {
      const { code, stdout, stderr } = await runProgram(process.execPath, [CLI, ...args]);
      return { code, text: `${stdout}${stderr}`.trim() };
    };
    await use(A, (device) => fill(device, 0x21, 'by cli'));
    const check = await cli('check', `vfio:${A}`, `vfio:${B}`);
    assert.equal(check.code, 0, check.text);
    const moved = await cli('migrate', `vfio:${A}`, `vfio:${B}`);
    assert.equal(moved.code, 0, moved.text);
    await use(A, async (device) => {
      assert.equal(await device.migrationState(), STOP);
      await device.setMigrationState(RUNNING);
      drain(device, 6);
    });
    const saved = await cli('save', `vfio:${B}`, '/tmp/mtty.stream', '--raw', '--resume');
    assert.equal(saved.code, 0, saved.text);
    assert.equal(fs.statSync('/tmp/mtty.stream').size, STREAM_BYTES);
    await use(B, (device) => assert.equal(drain(device, 6).text, 'by cli'));
    const restored = await cli('restore', '--raw', '/tmp/mtty.stream', `vfio:${A}`);
    assert.equal(restored.code, 0, restored.text);
    await use(A, (device) => assert.deepEqual(drain(device, 6), { scratch: 0x21, text: 'by cli' }));
    return { check, moved, saved, restored };
  });
