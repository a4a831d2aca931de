/** The thread that plays the demo's guest: a VMM with a driver that never rests. Entry of a worker. */
import { parentPort, workerData } from 'node:worker_threads';
import { toFault } from '../base/fault.ts';
import { Memfd } from '../sys/memfd.ts';
import { VFIO_DMA_MAP_FLAG } from '../vfio/uapi.ts';
import { VfioUserClient } from '../vfio-user/client.ts';
import type { FromGuest, GuestStart, ToGuest } from './demo-messages.ts';
import { GuestBars } from './guest-bars.ts';
import { GUEST_DRIVER_MEMORY, GuestLoad, type GuestMemory } from './guest-load.ts';

/** Where the device reaches the guest's memory. */
const IOVA = 2 ** 32;

if (parentPort === null) throw new TypeError('this is the entry of a worker thread');
const port = parentPort;
const say = (message: FromGuest) => port.postMessage(message);
const start = workerData as GuestStart;
const stop = new Int32Array(start.stop);

/** The guest's memory, which it keeps wherever its VF is. */
const ram = Memfd.create('guest', GUEST_DRIVER_MEMORY);
const ramBytes = ram.map().view();

/** The VF that the guest has. */
interface Plugged {
  readonly device: VfioUserClient;
  readonly bars: GuestBars;
  readonly memory: GuestMemory;
}

/** Takes the VF at `path` into the guest. */
async function plug(path: string): Promise<Plugged> {
  const device = await VfioUserClient.connect(path);
  const bars = new GuestBars(device);
  if (bars.vram !== undefined) {
    const bytes = bars.vram.view(0, GUEST_DRIVER_MEMORY);
    return { device, bars, memory: { bytes, address: 0, inVram: true } };
  }
  const mapping = {
    iova: IOVA,
    size: GUEST_DRIVER_MEMORY,
    flags: VFIO_DMA_MAP_FLAG.READ | VFIO_DMA_MAP_FLAG.WRITE,
    memory: {
      windows: [ramBytes],
      read: (offset: number, target: Uint8Array) =>
        target.set(ramBytes.subarray(offset, offset + target.length)),
      write: (offset: number, source: Uint8Array) => ramBytes.set(source, offset),
    },
  };
  device.dmaMapFd(mapping, ram.fd, 0);
  return { device, bars, memory: { bytes: ramBytes, address: IOVA, inVram: false } };
}

async function unplug({ device, bars }: Plugged): Promise<void> {
  bars.close();
  await device.close();
}

/** Works until the guest is stopped. */
async function work(load: GuestLoad): Promise<void> {
  say({ type: 'booted', counts: { ...load.counts } });
  while (Atomics.load(stop, 0) === 0) await load.round();
  say({ type: 'stopped', counts: { ...load.counts } });
}

/** What the guest is told to do next; a message that comes meanwhile is kept. */
const messages: ToGuest[] = [];
let heard: (() => void) | undefined;
port.on('message', (message: ToGuest) => {
  messages.push(message);
  heard?.();
});

async function nextMessage(): Promise<ToGuest> {
  for (;;) {
    const message = messages.shift();
    if (message !== undefined) return message;
    await new Promise<void>((resolve) => {
      heard = resolve;
    });
  }
}

/** The guest's life: one VF after the other. */
async function live(): Promise<void> {
  let plugged = await plug(start.path);
  try {
    const load = await GuestLoad.boot(plugged.bars, plugged.memory, start.seed);
    for (let marker = 1; ; marker++) {
      await work(load);
      const { path } = await nextMessage();
      if (path === undefined) return;
      const next = await plug(path);
      await unplug(plugged);
      plugged = next;
      await load.move(plugged.bars, plugged.memory, marker);
    }
  } finally {
    await unplug(plugged);
  }
}

try {
  await live();
} catch (error) {
  const { code, message } = toFault(error);
  say({ type: 'failed', reason: `${code} ${message}` });
}
port.close();
