// What a guest may be in the middle of when it is moved to another QEMU.
import { setTimeout as delay } from 'node:timers/promises';
import { GUEST_PATH } from '../dist/app/guest-initramfs.js';

/** How long a guest may take for anything. */
const GUEST_MS = 300_000;

/**
 * @typedef {object} Means
 * @property {(text: string) => void} say
 * @property {(text: string) => void} fail
 * @property {object} changes options of `moveVm`
 */

/** @type {Record<string, (vm: import('./moved-vm.mjs').MovedVm, means: Means) => Promise<void>>} */
export const SITUATIONS = {
  'no-driver': async (vm, means) => {
    await move(vm, means, 'no driver');
    await move(vm, means, 'no driver');
    await vm.probe();
    await work(vm, means);
  },
  probe: async (vm, means) => {
    let over = false;
    const probed = vm.probe().finally(() => {
      over = true;
    });
    probed.catch(() => {});
    while (!over) await moveWhenAllowed(vm, means, 'probe');
    await probed;
    await work(vm, means);
  },
  unbind: async (vm, means) => {
    await vm.probe();
    await beside(vm, means, 'unbind', `echo ${vm.address} >/sys/bus/pci/drivers/xe/unbind`);
    await beside(vm, means, 'bind', `echo ${vm.address} >/sys/bus/pci/drivers/xe/bind`);
    await work(vm, means);
  },
  flr: async (vm, means) => {
    await vm.probe();
    const { address } = vm;
    const device = `/sys/bus/pci/devices/${address}`;
    await must(vm, `echo ${address} >/sys/bus/pci/drivers/xe/unbind`);
    await must(vm, `echo flr >${device}/reset_method`);
    await beside(vm, means, 'FLR', `for n in 1 2 3 4 5 6 7 8; do echo 1 >${device}/reset; done`);
    await must(vm, `echo ${address} >/sys/bus/pci/drivers/xe/bind`);
    await work(vm, means);
  },
  fault: (vm, means) => underCases(vm, means, 'fault'),
  hang: (vm, means) => underCases(vm, means, 'error'),
  // The second one begins before the recovery from the first can have ended.
  'second-move': async (vm, means) => {
    await vm.probe();
    await vm.startJobs();
    for (let pair = 0; pair < 3; pair++) {
      await move(vm, means, 'second move, first');
      await move(vm, means, 'second move, second');
      if (!(await vm.jobsGoOn())) means.fail(`second move: "${vm.lastLine}"`);
    }
    await endWork(vm, means);
  },
};

/** Moves while cases of the exerciser run, all of which have to pass. */
async function underCases(vm, means, group) {
  await vm.probe();
  const device = `/dev/dri/${vm.renderNode}`;
  const done = vm.session.run(`${GUEST_PATH.EXERCISER} --device ${device} --only ${group}`, {
    timeoutMs: GUEST_MS,
  });
  done.catch(() => {});
  let over = false;
  void done.finally(() => {
    over = true;
  });
  while (!over) {
    await move(vm, means, group);
    await delay(300);
  }
  const { output } = await done;
  const last = output.split('\n').at(-1);
  means.say(`${group}: ${last}`);
  if (!/ failed 0 /.test(last ?? ''))
    means.fail(
      `${group}: ${output
        .split('\n')
        .filter((line) => line.startsWith('FAIL'))
        .join('; ')}`,
    );
}

async function beside(vm, means, name, command) {
  const done = must(vm, command);
  done.catch(() => {});
  await moveWhenAllowed(vm, means, name);
  await done;
}

async function must(vm, command) {
  const { status, output } = await vm.session.run(command, { timeoutMs: GUEST_MS });
  if (status !== 0) throw new Error(`${command}: ${output}`);
}

async function move(vm, { say, changes }, name) {
  const { downtimeMs } = await vm.move(changes);
  say(`${name}: down for ${downtimeMs.toFixed(1)} ms`);
}

/** A driver that is starting cannot recover yet: such a move is refused for the moment. */
async function moveWhenAllowed(vm, means, name) {
  for (let refused = 0; ; refused++) {
    try {
      await move(vm, means, refused === 0 ? name : `${name} (${refused} refusals before)`);
      return;
    } catch (error) {
      if (error.code !== 'EBUSY' || refused > 100) throw error;
      await delay(100);
    }
  }
}

/** Shows that the VF works. */
async function work(vm, means) {
  await vm.startJobs();
  await delay(1000);
  await endWork(vm, means);
}

async function endWork(vm, { say, fail }) {
  const total = await vm.endJobs();
  say(`guest: ${total}`);
  if (!/^total jobs [1-9]\d* bad 0$/.test(total)) fail(`jobs: ${total}`);
  for (const line of (await vm.kernelLog()).unexpected) fail(line);
}
