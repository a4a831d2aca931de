// Boots a guest that proves something about the Linux it runs: the rig's stock kernel under TCG with an
// emulated IOMMU, an edu and an igb.

import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { qemuCommand } from '../rig.mjs';
import { buildInitramfs } from './initramfs.mjs';

/** Modules of the stock kernel: igb, then VFIO. */
const MODULES = [
  ...['dca', 'i2c_algo_bit', 'igb'],
  ...['vfio', 'vfio_iommu_type1', 'irqbypass', 'vfio_pci_core', 'vfio_pci', 'mdev'],
];
const DEVICES = [
  ...['-device', 'intel-iommu,intremap=on,caching-mode=on'],
  ...['-device', 'pcie-root-port,id=igb-slot,chassis=1'],
  ...['-netdev', 'user,id=net', '-device', 'igb,bus=igb-slot,netdev=net'],
  ...['-device', 'edu'],
];
/** Node with its code and the memory that the proofs map. */
const MEMORY_MIB = 1024;

/**
 * Runs a guest to its end.
 *
 * @param {object} options
 * @param {import('../rig.mjs').Rig} options.rig
 * @param {string} options.directory for files of this run
 * @param {string} options.command what the guest runs, as a line of shell
 * @param {Readonly<Record<string, string>>} options.trees see buildInitramfs
 * @param {readonly string[]} [options.extraModules] see buildInitramfs
 * @param {readonly string[]} [options.withoutModules] of the stock ones
 * @param {number} options.timeoutMs
 * @returns {Promise<string>} all that the guest wrote to its console
 */
export async function runGuest(options) {
  const { rig, directory, withoutModules = [], timeoutMs, ...content } = options;
  const file = path.join(directory, 'initramfs.cpio');
  const modules = MODULES.filter((name) => !withoutModules.includes(name));
  buildInitramfs({ rig, file, modules, ...content });
  try {
    return await runQemu(rig, file, timeoutMs);
  } finally {
    fs.rmSync(file);
  }
}

function runQemu(rig, initramfs, timeoutMs) {
  const { command, args, env } = qemuCommand(rig);
  const qemu = spawn(
    command,
    [
      ...args,
      ...['-nodefaults', '-nographic', '-no-reboot', '-serial', 'stdio'],
      ...['-machine', 'q35,accel=tcg', '-cpu', 'max', '-smp', '2', '-m', String(MEMORY_MIB)],
      ...['-kernel', rig.vmlinuz, '-initrd', initramfs],
      ...['-append', 'console=ttyS0 panic=-1 intel_iommu=on quiet'],
      ...DEVICES,
    ],
    { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let text = '';
  for (const stream of [qemu.stdout, qemu.stderr]) {
    stream.setEncoding('utf8').on('data', (part) => {
      text += part;
    });
  }
  const timer = setTimeout(() => qemu.kill('SIGKILL'), timeoutMs);
  return new Promise((resolve, reject) => {
    qemu.on('error', reject);
    qemu.on('close', () => {
      clearTimeout(timer);
      resolve(text);
    });
  });
}

/** What a program of guest/linux/proofs told on the console, by the names of the proofs. */
export function proofsIn(text) {
  const told = new Map();
  for (const [, line] of text.matchAll(/^@@proof (\{.*\})\r?$/gm)) {
    try {
      const proof = JSON.parse(line);
      told.set(proof.name, proof);
    } catch {
      // The kernel wrote into the middle of the line; the test then misses the proof and shows all.
    }
  }
  return told;
}
