// In the guest: PCI functions behind vfio-pci and an IOMMU. QEMU's edu for DMA and MSI, a VF of its igb
// for SR-IOV, MSI-X and function-level reset.

import { fork } from 'node:child_process';
import * as fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { VfioPciFunction } from '../../../dist/linux/vfio-pci-function.js';
import { dupFd } from '../../../dist/sys/descriptor.js';
import { EventFd, foreignEventFds } from '../../../dist/sys/eventfd.js';
import { Mapping } from '../../../dist/sys/mapping.js';
import { VfioPciCore } from '../../../dist/vfio-pci/vfio-pci-core.js';
import { VfioUserClient } from '../../../dist/vfio-user/client.js';
import { EDU, EDU_DMA, EDU_ID, EDU_REG, Edu } from './edu.mjs';
import { Memory } from './memory.mjs';
import { assert, bindToVfio, faultOf, findPci, proof, runProgram, until } from './proof.mjs';

const IGB = { VENDOR: 0x8086, PF: 0x10c9, VF: 0x10ca };
/** Of an igb VF: interrupt cause set, mask set. */
const VTEICS = 0x1520;
const VTEIMS = 0x1524;
/** Control of a VF's receive queue, with the bit that a reset of the VF clears. */
const RXDCTL = 0x2828;
const RXDCTL_ENABLE = 1 << 25;
const VFIO_PCI_IRQ = { MSI: 1, MSIX: 2, ERR: 3, REQ: 4 };
const COMMAND = 4;
const COMMAND_MEMORY_MASTER = 6;
const IOVA = 0x100000;
/** With iommufd the kernel counts no mappings. */
const BY_GROUP = !fs.existsSync('/dev/iommu');
const DMA_ENTRY_LIMIT = '/sys/module/vfio_iommu_type1/parameters/dma_entry_limit';

const pf = findPci(IGB.VENDOR, IGB.PF);
fs.writeFileSync(`/sys/bus/pci/devices/${pf}/sriov_numvfs`, '2');
const vf = findPci(IGB.VENDOR, IGB.VF);
// The PF switches MSI-X on for its VFs when its interface comes up.
const [pfInterface] = fs.readdirSync(`/sys/bus/pci/devices/${pf}/net`);
await runProgram('/bin/busybox', ['ifconfig', pfInterface, 'up']);
const edu = findPci(EDU.VENDOR, EDU.DEVICE);

await proof('vfio: what is not bound to VFIO is refused', async () => {
  const fault = await faultOf(() => VfioPciFunction.open(edu));
  assert.equal(fault.code, 'ENODEV');
  const absent = await faultOf(() => VfioPciFunction.open('0000:1f:1f.7'));
  assert.equal(absent.code, 'ENODEV');
  return { fault, absent };
});

bindToVfio(edu);
bindToVfio(vf);

/** A register of a function or a device, 4 bytes. */
function read32(pciFunction, bar, offset) {
  const bytes = new Uint8Array(4);
  pciFunction.barRead(bar, offset, bytes, 0, 4);
  return new DataView(bytes.buffer).getUint32(0, true);
}

function write32(pciFunction, bar, offset, value) {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  pciFunction.barWrite(bar, offset, bytes, 0, 4);
}

/** Lets the function decode its BARs and reach memory. */
function enableFunction(pciFunction) {
  pciFunction.configWrite(COMMAND, new Uint8Array([COMMAND_MEMORY_MASTER, 0]), 0, 2);
}

/** Opens edu for the time of `run`. */
async function withEdu(run) {
  const pciFunction = VfioPciFunction.open(edu);
  try {
    enableFunction(pciFunction);
    const access = {
      read: (offset, bytes, count) => pciFunction.barRead(0, offset, bytes, 0, count),
      write: (offset, bytes, count) => pciFunction.barWrite(0, offset, bytes, 0, count),
    };
    return await run(pciFunction, new Edu(access));
  } finally {
    pciFunction.close();
    pciFunction.close();
  }
}

await proof('vfio: a VF describes itself', async () => {
  const pciFunction = VfioPciFunction.open(vf);
  try {
    const { vendorId, deviceId, isVirtfn, configSize, vectors, via } = pciFunction;
    assert.deepEqual([vendorId, deviceId, isVirtfn, configSize], [IGB.VENDOR, IGB.VF, true, 4096]);
    assert.equal(via, BY_GROUP ? 'group' : 'iommufd');
    assert.deepEqual(vectors, { intx: 0, msi: 0, msix: 3 });
    const bars = pciFunction.bars.map(({ size, is64Bit }) => [size, is64Bit]);
    assert.deepEqual(bars[0], [16384, true]);
    assert.deepEqual(bars[1], [0, false]);
    assert.deepEqual(bars[3], [16384, true]);
    assert.equal(pciFunction.bars[0].areas[0].size, 16384);
    return { via, bars, limits: pciFunction.dmaLimits };
  } finally {
    pciFunction.close();
  }
});

await proof('vfio: configuration space through both virtualisations', async () => {
  const pciFunction = VfioPciFunction.open(vf);
  const device = new VfioPciCore({ pciFunction, eventFds: foreignEventFds });
  await device.enable();
  try {
    const config = new Uint8Array(4096);
    device.regionRead(7, 0, config, 0, config.length);
    const view = new DataView(config.buffer);
    assert.equal(view.getUint16(0, true), IGB.VENDOR);
    assert.equal(view.getUint16(2, true), IGB.VF);
    assert.equal(view.getUint16(COMMAND, true) & 2, 2);
    const capabilities = [];
    for (let at = config[0x34]; at !== 0; at = config[at + 1]) capabilities.push(config[at]);
    // Every bit that can be set is: that is how the size of a BAR is found.
    await device.regionWrite(7, 0x10, new Uint8Array(8).fill(0xff), 0, 8);
    device.regionRead(7, 0x10, config, 0x10, 8);
    assert.equal((view.getUint32(0x10, true) & 0xffff_fff0) >>> 0, 0xffff_c000);
    assert.equal(view.getUint32(0x14, true), 0xffff_ffff);
    return { capabilities };
  } finally {
    await device.close();
    pciFunction.close();
  }
});

await proof('vfio: BARs by the descriptor and mapped', () =>
  withEdu(async (pciFunction, device) => {
    assert.equal(device.read(EDU_REG.ID), EDU_ID);
    device.write(EDU_REG.LIVENESS, 0x12345678);
    assert.equal(device.read(EDU_REG.LIVENESS), 0xedcba987);
    const [area] = pciFunction.bars[0].areas;
    assert.deepEqual([area.offset, area.size], [0, 2 ** 20]);
    const mapping = Mapping.ofFd(area.fd, area.size, { fdOffset: area.fdOffset });
    const words = new Uint32Array(mapping.view().buffer, 0, 64);
    assert.equal(words[0], EDU_ID);
    words[EDU_REG.LIVENESS / 4] = 1;
    assert.equal(device.read(EDU_REG.LIVENESS), 0xfffffffe);
    mapping.close();
  }),
);

await proof('vfio: DMA into memory and out of it', () =>
  withEdu(async (pciFunction, device) => {
    const memory = new Memory(2 ** 20);
    const mapping = memory.at(IOVA);
    pciFunction.dmaMap(mapping);
    memory.bytes.set(Buffer.from('from memory'), 0);
    device.startDma(IOVA, 4096, 0);
    await until(() => !device.dmaBusy);
    device.startDma(IOVA + 8192, 4096, EDU_DMA.TO_MEMORY);
    await until(() => !device.dmaBusy);
    assert.equal(Buffer.from(memory.bytes.subarray(8192, 8203)).toString(), 'from memory');
    assert.equal((await faultOf(() => pciFunction.dmaMap(mapping))).code, 'EEXIST');
    pciFunction.dmaUnmap(mapping);
    memory.close();
  }),
);

await proof('vfio: memory is taken away while a transfer is under way', () =>
  withEdu(async (pciFunction, device) => {
    const memory = new Memory(2 ** 20);
    const mapping = memory.at(IOVA);
    memory.bytes.fill(7);
    pciFunction.dmaMap(mapping);
    // The device waits 100 ms before it transfers.
    device.startDma(IOVA, 4096, EDU_DMA.TO_MEMORY);
    assert.equal(device.dmaBusy, true);
    pciFunction.dmaUnmap(mapping);
    await until(() => !device.dmaBusy);
    assert.equal(
      memory.bytes.every((byte) => byte === 7),
      true,
    );
    // Nothing is left of it: the same range can be mapped, and is reached again.
    pciFunction.dmaMap(mapping);
    device.startDma(IOVA, 4096, EDU_DMA.TO_MEMORY);
    await until(() => !device.dmaBusy);
    assert.deepEqual([memory.bytes[4095], memory.bytes[4096]], [0, 7]);
    pciFunction.dmaUnmap(mapping);
    memory.close();
  }),
);

await proof('vfio: memory that may only be read is not written', () =>
  withEdu(async (pciFunction, device) => {
    const memory = new Memory(2 ** 20);
    memory.bytes.fill(9);
    pciFunction.dmaMap(memory.at(IOVA, 1));
    device.startDma(IOVA, 4096, EDU_DMA.TO_MEMORY);
    await until(() => !device.dmaBusy);
    assert.equal(
      memory.bytes.every((byte) => byte === 9),
      true,
    );
    memory.close();
  }),
);

await proof('vfio: every mapping is given back', () =>
  withEdu(async (pciFunction) => {
    const device = new VfioPciCore({ pciFunction, eventFds: foreignEventFds });
    await device.enable();
    const memory = new Memory(2 ** 16);
    const before = pciFunction.dmaLimits.available;
    const expectLeft = (count) => {
      if (BY_GROUP) assert.equal(pciFunction.dmaLimits.available, before - count);
    };
    const mapAll = () => {
      for (let n = 0; n < 64; n++) device.dmaMap(memory.at(IOVA + n * 2 ** 16));
    };
    mapAll();
    expectLeft(64);
    assert.equal((await faultOf(() => device.dmaUnmap(IOVA, 4096))).code, 'ENOENT');
    device.dmaUnmap(IOVA, 2 ** 16);
    expectLeft(63);
    device.dmaUnmapAll();
    expectLeft(0);
    mapAll();
    device.dmaUnmapAll();
    expectLeft(0);
    await device.close();
    memory.close();
  }),
);

/** What a mapping says for which there is no entry left. */
async function entryLimitFault(memory) {
  const limit = fs.readFileSync(DMA_ENTRY_LIMIT, 'utf8');
  fs.writeFileSync(DMA_ENTRY_LIMIT, '2');
  const fault = await withEdu((pciFunction) => {
    pciFunction.dmaMap(memory.at(IOVA));
    pciFunction.dmaMap(memory.at(2 * IOVA));
    return faultOf(() => pciFunction.dmaMap(memory.at(3 * IOVA)));
  });
  fs.writeFileSync(DMA_ENTRY_LIMIT, limit);
  assert.equal(fault.code, 'ENOSPC');
  assert.match(fault.hint, /dma_entry_limit/);
  return fault;
}

await proof('vfio: limits are named', async () => {
  const memory = new Memory(2 ** 20);
  const faults = {};
  await withEdu(async (pciFunction) => {
    const map = (mapping) => faultOf(() => pciFunction.dmaMap(mapping));
    // Interrupts have their addresses there.
    faults.reserved = await map(memory.at(0xfee00000));
    assert.equal(faults.reserved.code, 'EINVAL');
    assert.match(faults.reserved.message, /0xfeefffff|0xfef00000/);
    faults.above = await map(memory.at(2 ** 50));
    assert.equal(faults.above.code, 'EINVAL');
  });
  if (BY_GROUP) faults.entries = await entryLimitFault(memory);
  memory.close();
  // Root may lock all memory; another user up to the limit.
  const program = fileURLToPath(new URL('memlock.mjs', import.meta.url));
  const { stdout, stderr } = await runProgram(process.execPath, [program, edu]);
  assert.notEqual(stdout, '', stderr);
  faults.memlock = JSON.parse(stdout);
  assert.equal(faults.memlock.code, 'ENOMEM');
  assert.match(faults.memlock.hint, /ulimit -l/);
  return faults;
});

await proof('vfio: MSI of the device to an eventfd', () =>
  withEdu(async (pciFunction, device) => {
    const eventfd = new EventFd();
    assert.equal(pciFunction.vectors.msi, 1);
    pciFunction.allocateVectors(VFIO_PCI_IRQ.MSI, 1);
    pciFunction.setIrqTrigger(VFIO_PCI_IRQ.MSI, 0, eventfd.fd);
    device.write(EDU_REG.IRQ_RAISE, 1);
    assert.equal(await until(() => eventfd.take() || undefined), 1);
    device.write(EDU_REG.IRQ_ACK, 1);
    const memory = new Memory(2 ** 16);
    pciFunction.dmaMap(memory.at(IOVA));
    device.startDma(IOVA, 4096, EDU_DMA.TO_MEMORY | EDU_DMA.IRQ);
    assert.equal(await until(() => eventfd.take() || undefined), 1);
    pciFunction.setIrqTrigger(VFIO_PCI_IRQ.MSI, 0, null);
    pciFunction.allocateVectors(VFIO_PCI_IRQ.MSI, 0);
    memory.close();
    eventfd.close();
  }),
);

await proof('vfio: MSI-X of a VF to eventfds', async () => {
  const pciFunction = VfioPciFunction.open(vf);
  const eventfds = [new EventFd(), new EventFd(), new EventFd()];
  try {
    enableFunction(pciFunction);
    const { MSIX } = VFIO_PCI_IRQ;
    pciFunction.allocateVectors(MSIX, 3);
    for (const [vector, { fd }] of eventfds.entries()) pciFunction.setIrqTrigger(MSIX, vector, fd);
    pciFunction.raiseIrq(MSIX, 2);
    assert.deepEqual(
      eventfds.map((each) => each.take()),
      [0, 0, 1],
    );
    write32(pciFunction, 0, VTEIMS, 2);
    write32(pciFunction, 0, VTEICS, 2);
    await until(() => eventfds[1].take() > 0);
    pciFunction.setIrqTrigger(MSIX, 1, null);
    pciFunction.raiseIrq(MSIX, 1);
    assert.deepEqual(
      eventfds.map((each) => each.take()),
      [0, 0, 0],
    );
    pciFunction.allocateVectors(MSIX, 0);
  } finally {
    pciFunction.close();
    for (const eventfd of eventfds) eventfd.close();
  }
});

await proof('vfio: function-level reset of a VF', async () => {
  const pciFunction = VfioPciFunction.open(vf);
  try {
    enableFunction(pciFunction);
    write32(pciFunction, 0, RXDCTL, RXDCTL_ENABLE);
    const written = read32(pciFunction, 0, RXDCTL);
    assert.notEqual(written & RXDCTL_ENABLE, 0);
    const started = Date.now();
    let turns = 0;
    const ticking = setInterval(() => turns++, 5);
    await pciFunction.functionLevelReset();
    clearInterval(ticking);
    enableFunction(pciFunction);
    const after = read32(pciFunction, 0, RXDCTL);
    assert.equal(after & RXDCTL_ENABLE, 0);
    // The kernel waits 100 ms for a reset, this thread does not.
    assert.notEqual(turns, 0);
    return { written, after, ms: Date.now() - started, turns };
  } finally {
    pciFunction.close();
  }
});

await proof('vfio: error and request notices', async () => {
  const pciFunction = VfioPciFunction.open(vf);
  const told = [];
  pciFunction.events.on(({ type }) => told.push(type));
  const eventfd = new EventFd();
  pciFunction.raiseIrq(VFIO_PCI_IRQ.ERR, 0);
  await until(() => told.includes('error'));
  pciFunction.setIrqTrigger(VFIO_PCI_IRQ.ERR, 0, eventfd.fd);
  pciFunction.raiseIrq(VFIO_PCI_IRQ.ERR, 0);
  assert.equal(await until(() => eventfd.take() || undefined), 1);
  pciFunction.setIrqTrigger(VFIO_PCI_IRQ.ERR, 0, null);
  assert.equal(told.length, 1);
  // Whoever takes the device from vfio-pci waits until it is given back.
  const unbind = runProgram('/bin/sh', [
    '-c',
    `echo ${vf} > /sys/bus/pci/devices/${vf}/driver/unbind`,
  ]);
  await until(() => told.includes('request'));
  pciFunction.close();
  assert.equal((await unbind).code, 0);
  bindToVfio(vf);
  eventfd.close();
  return { told };
});

/** Serves a function in a process of its own. */
async function serve(bdf, socket) {
  const program = fileURLToPath(new URL('serve-function.mjs', import.meta.url));
  const child = fork(program, [bdf, socket]);
  const messages = [];
  await new Promise((resolve, reject) => {
    child.on('message', (message) => {
      messages.push(message.type);
      if (message.type === 'ready') resolve();
    });
    child.once('exit', () => reject(new Error('the server ended')));
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  return {
    child,
    messages,
    stop: async () => {
      child.kill();
      assert.equal(await ended, 0);
    },
  };
}

/** How often a process has slept so far: each message that it is sent wakes it. */
function wakeUps(pid) {
  let sum = 0;
  for (const task of fs.readdirSync(`/proc/${pid}/task`)) {
    const status = fs.readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8');
    sum += Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)[1]);
  }
  return sum;
}

await proof('served: BARs, DMA, MSI and reset of edu through vfio-user', async () => {
  const server = await serve(edu, '/tmp/edu.sock');
  const client = await VfioUserClient.connect('/tmp/edu.sock');
  const memory = new Memory(2 ** 20);
  try {
    const info = client.regionInfo(0);
    assert.equal(info.size, 2 ** 20);
    client.regionWrite(7, COMMAND, new Uint8Array([COMMAND_MEMORY_MASTER, 0]), 0, 2);
    const byMessages = new Edu({
      read: (offset, bytes, count) => client.regionRead(0, offset, bytes, 0, count),
      write: (offset, bytes, count) => client.regionWrite(0, offset, bytes, 0, count),
    });
    assert.equal(byMessages.read(EDU_REG.ID), EDU_ID);

    client.dmaMapFd(memory.at(IOVA), memory.memfd.fd, 0);
    const line = new EventFd();
    client.setIrqs({ flags: 0x24, index: 1, start: 0, count: 1, fds: [dupFd(line.fd)] });

    // From here on the server has nothing to do with it.
    const mapping = client.mapArea(info.areas[0]);
    const words = new Uint32Array(mapping.view().buffer, 0, 64);
    await until(() => words[0] === EDU_ID);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const before = wakeUps(server.child.pid);
    for (let n = 0; n < 20_000; n++) words[EDU_REG.LIVENESS / 4] = n;
    const direct = new Edu({
      read: (offset, bytes, count) => bytes.set(mapping.view(offset, count)),
      write: (offset, bytes, count) => {
        const part = new Uint32Array(bytes.buffer, 0, count / 4);
        if (count === 8) new BigUint64Array(mapping.view().buffer, offset, 1)[0] = wide(part);
        else words[offset / 4] = part[0];
      },
    });
    memory.bytes.set(Buffer.from('around the server'), 0);
    direct.startDma(IOVA, 4096, EDU_DMA.IRQ);
    assert.equal(await until(() => line.take() || undefined), 1);
    words[EDU_REG.IRQ_ACK / 4] = words[EDU_REG.IRQ_STATUS / 4];
    direct.startDma(IOVA + 4096, 4096, EDU_DMA.TO_MEMORY | EDU_DMA.IRQ);
    assert.equal(await until(() => line.take() || undefined), 1);
    const text = Buffer.from(memory.bytes.subarray(4096, 4096 + 17)).toString();
    assert.equal(text, 'around the server');
    const wokenBy = wakeUps(server.child.pid) - before;
    // 20000 accesses, two transfers and two interrupts: what is left are its own timers.
    assert.ok(wokenBy < 200, `the server woke up ${wokenBy} times`);

    client.dmaUnmap(IOVA, 2 ** 20);
    // edu has no reset: the kernel says so and our device does.
    assert.equal(client.info.flags & 1, 0);
    assert.equal((await faultOf(() => client.reset())).code, 'EINVAL');
    mapping.close();
    line.close();
    return { wokenBy };
  } finally {
    await client.close();
    await server.stop();
    memory.close();
  }
});

await proof('served: a VF is reset when its VMM is gone, and taken by the next', async () => {
  const server = await serve(vf, '/tmp/vf.sock');
  const queueEnabled = () => {
    const bytes = new Uint8Array(4);
    client.regionRead(0, RXDCTL, bytes, 0, 4);
    return (new DataView(bytes.buffer).getUint32(0, true) & RXDCTL_ENABLE) !== 0;
  };
  let client = await VfioUserClient.connect('/tmp/vf.sock');
  try {
    assert.deepEqual(client.irqInfo(2).count, 3);
    client.regionWrite(0, RXDCTL, new Uint8Array([0, 0, 0, RXDCTL_ENABLE >>> 24]), 0, 4);
    assert.equal(queueEnabled(), true);
    await client.reset();
    assert.equal(queueEnabled(), false);
    client.regionWrite(0, RXDCTL, new Uint8Array([0, 0, 0, RXDCTL_ENABLE >>> 24]), 0, 4);
    await client.close();
    client = await VfioUserClient.connect('/tmp/vf.sock');
    assert.equal(queueEnabled(), false);
    // Memory without a descriptor, as a VMM offers its ROMs: accepted and told.
    const rom = new Memory(4096);
    client.dmaMap(rom.at(0xc0000, 1));
    await until(() => server.messages.includes('unreachable'));
    client.dmaUnmap(0xc0000, 4096);
    rom.close();
    return { messages: server.messages };
  } finally {
    await client.close();
    await server.stop();
  }
});

function wide([low, high]) {
  return (BigInt(high) << 32n) | BigInt(low);
}
