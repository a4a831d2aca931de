// Where the guest rig is, whether it is complete, and how its QEMU is started.
// docs/guest-rig.md says what the rig is for.

import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';

/** Raised when build-rig.mjs puts something else into the rig, so that older ones are rebuilt. */
export const RECIPE = 2;

/** The dynamic loader and the libraries of a Debian root. */
const LOADER = 'usr/lib64/ld-linux-x86-64.so.2';
const LIBRARIES = 'usr/lib/x86_64-linux-gnu';

/** @returns {string} the rig's directory, which need not exist: the same for every checkout */
export function rigDirectory() {
  const cache = process.env.XDG_CACHE_HOME;
  // The XDG specification: a path that is not absolute is to be ignored.
  const base =
    cache !== undefined && path.isAbsolute(cache) ? cache : path.join(os.homedir(), '.cache');
  return path.join(base, 'xe-vfio', 'rig');
}

/**
 * @typedef {object} Rig
 * @property {string} directory
 * @property {string} root the Debian root that holds QEMU
 * @property {string} qemuVersion package version, `1:11.1.3+ds-1~bpo13+1`
 * @property {string} kernelRelease what `uname -r` prints in the guest
 * @property {string} kernelVersion package version of the kernel
 * @property {string} vmlinuz path of the kernel image
 * @property {string} modules path of the kernel's modules directory
 * @property {string[]} guestModules paths of xe and what it depends on, in the order of loading
 * @property {string} busybox path of a statically linked busybox, for an initramfs
 */

/**
 * The rig, or why there is none that can be used.
 * @returns {{ rig: Rig, reason?: undefined } | { rig?: undefined, reason: string }}
 */
export function findRig(directory = rigDirectory()) {
  const stamp = readStamp(directory);
  const build = 'build it as root: node guest/build-rig.mjs';
  if (stamp === undefined) return { reason: `no guest rig in ${directory}; ${build}` };
  if (stamp.recipe !== RECIPE)
    return { reason: `the guest rig in ${directory} is outdated; ${build}` };
  const rig = {
    directory,
    root: path.join(directory, 'root'),
    qemuVersion: stamp.qemuVersion,
    kernelRelease: stamp.kernelRelease,
    kernelVersion: stamp.kernelVersion,
    vmlinuz: path.join(directory, stamp.vmlinuz),
    modules: path.join(directory, stamp.modules),
    guestModules: stamp.guestModules.map((each) => path.join(directory, each)),
    busybox: path.join(directory, 'root/usr/bin/busybox'),
  };
  const { vmlinuz, modules, busybox, guestModules } = rig;
  for (const file of [vmlinuz, modules, busybox, ...guestModules, ...qemuFiles(rig.root)]) {
    try {
      fs.accessSync(file, fs.constants.R_OK);
    } catch (error) {
      return { reason: `the guest rig is incomplete (${error.code} ${file}); ${build}` };
    }
  }
  return { rig };
}

/**
 * How to start the rig's QEMU: append its own arguments to `args`. It runs on the host's file
 * system through the dynamic loader of its own Debian root, not in a chroot, so that sockets and
 * images keep their host paths and no privilege is needed.
 * @param {Rig} rig
 * @returns {{ command: string, args: string[], env: Record<string, string> }} env: to be added
 */
export function qemuCommand(rig) {
  const { command, args } = rootCommand(rig.root, 'qemu-system-x86_64');
  return {
    command,
    args: [
      ...args,
      ...['-L', path.join(rig.root, 'usr/share/qemu')],
      ...['-L', path.join(rig.root, 'usr/share/seabios')],
    ],
    env: { QEMU_MODULE_DIR: path.join(rig.root, LIBRARIES, 'qemu') },
  };
}

/**
 * How to start a program of the rig's root on the host's file system.
 * @param {string} root the Debian root
 * @param {string} program a file in its usr/bin
 * @param {string} name what the program is to find as its own name
 * @returns {{ command: string, args: string[] }}
 */
export function rootCommand(root, program, name = program) {
  return {
    command: path.join(root, LOADER),
    args: [
      // The host's libraries may be older than the ones this program was linked with.
      ...['--inhibit-cache', '--library-path', path.join(root, LIBRARIES)],
      ...['--argv0', name, path.join(root, 'usr/bin', program)],
    ],
  };
}

/** @returns {[loader: string, qemu: string]} */
function qemuFiles(root) {
  return [path.join(root, LOADER), path.join(root, 'usr/bin/qemu-system-x86_64')];
}

function readStamp(directory) {
  try {
    return JSON.parse(fs.readFileSync(path.join(directory, 'stamp.json'), 'utf8'));
  } catch {
    return undefined;
  }
}
