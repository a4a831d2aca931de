/** Servers as their users start them: `xe-vfio serve` in processes of their own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { pinned } from './yardstick.mjs';

const BIN = fileURLToPath(new URL('../bin/xe-vfio', import.meta.url));

/**
 * Starts `xe-vfio serve` and waits until it is ready.
 *
 * @param {string[]} args after `serve`
 * @param {number} [core] the core to hold it on
 */
export async function startServer(args, core) {
  const [command, ...rest] = pinned([process.execPath, BIN, 'serve', ...args, '--json'], core);
  const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    log = (log + text).slice(-4000);
  });
  const ready = await Promise.race([
    once(createInterface({ input: child.stdout }), 'line'),
    once(child, 'exit').then(() => undefined),
  ]);
  if (ready === undefined) throw new Error(`the server did not start:\n${log}`);
  return {
    pid: child.pid,
    /** The end of what it logged. */
    log: () => log,
    async stop() {
      child.kill('SIGTERM');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    },
  };
}

/**
 * Memory of a process in bytes: resident, and the shared part of it that a device's VRAM and page
 * tables make up (memfds are shared memory; nothing else in a server is).
 *
 * @param {number} pid
 */
export function memoryOf(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024;
  return { resident: field('VmRSS'), shared: field('RssShmem') };
}
