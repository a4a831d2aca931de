// How a program in the guest tells the test on the host what it found: a line for each proof.

import * as assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';

export { assert };

/** Begins a line that the test takes out of the guest's console. */
const MARK = '@@proof ';

/** Does one proof and tells how it went; what the function returns is told along. */
export async function proof(name, run) {
  const started = Date.now();
  const told = { name, ok: true };
  try {
    told.details = (await run()) ?? null;
  } catch (error) {
    told.ok = false;
    told.error = error.stack ?? String(error);
  }
  told.ms = Date.now() - started;
  process.stdout.write(`\n${MARK}${JSON.stringify(told)}\n`);
}

/** The errno and the message of the Fault that `run` throws, synchronously or not. */
export async function faultOf(run) {
  try {
    await run();
  } catch (error) {
    return { code: error.code, message: error.message, hint: error.hint };
  }
  throw new assert.AssertionError({ message: 'nothing was thrown' });
}

/** Runs a program to its end. */
export function runProgram(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (text) => (stdout += text));
    child.stderr.on('data', (text) => (stderr += text));
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

/** Looks until `look` gives something else than undefined. */
export async function until(look, timeoutMs = 10_000) {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > end) throw new Error(`waited for ${timeoutMs} ms in vain`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Gives a PCI function to vfio-pci. */
export function bindToVfio(bdf) {
  const device = `/sys/bus/pci/devices/${bdf}`;
  fs.writeFileSync(`${device}/driver_override`, 'vfio-pci');
  if (fs.existsSync(`${device}/driver`)) fs.writeFileSync(`${device}/driver/unbind`, bdf);
  fs.writeFileSync('/sys/bus/pci/drivers_probe', bdf);
}

/** The first PCI function with these ids. */
export function findPci(vendor, device) {
  const root = '/sys/bus/pci/devices';
  const id = (bdf, name) => Number(fs.readFileSync(`${root}/${bdf}/${name}`, 'utf8'));
  return fs
    .readdirSync(root)
    .sort()
    .find((bdf) => id(bdf, 'vendor') === vendor && id(bdf, 'device') === device);
}
